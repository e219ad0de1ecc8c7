"""Ports on the loopback interface."""

import os
import socket
from itertools import count

LOOPBACK = "127.0.0.1"

# Below the range from which the kernel takes the ports of outgoing connections: while a server of ours is
# down, a client that calls its port must not be given that very port, and so connect to itself.
FIRST, LAST = 20_000, 32_767

_handed_out: set[int] = set()
# Processes that start together search from different places, so that none takes what another has just chosen.
_search = count(os.getpid() * 97)


def port(preferred: int | None = None) -> int:
    """The preferred port, or a free one when it is taken or None. Raises OSError when no port is free."""
    if preferred is not None and _is_free(preferred):
        _handed_out.add(preferred)
        return preferred
    for _ in range(FIRST, LAST + 1):
        candidate = FIRST + next(_search) % (LAST + 1 - FIRST)
        if candidate not in _handed_out and _is_free(candidate):
            _handed_out.add(candidate)
            return candidate
    raise OSError(f"no port between {FIRST} and {LAST} is free on {LOOPBACK}")


def _is_free(candidate: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: closed connections linger
        try:
            probe.bind((LOOPBACK, candidate))
        except OSError:
            return False
        return True
