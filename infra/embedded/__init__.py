"""The embedded default: real servers from wheels, run as supervised children of one process."""
