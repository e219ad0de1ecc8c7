"""The demo: real processes, real tokens, and a check at the end of every scene."""
