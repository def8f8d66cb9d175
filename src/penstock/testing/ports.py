"""Ports for programs that are told where to listen before they start."""

from __future__ import annotations

import random
import socket
import threading

# Below those that a system gives out by itself: one of those could be taken between this answer and the start, by any connection.
LOWEST, HIGHEST = 20000, 32000
_given: set[int] = set()
_lock, _random = threading.Lock(), random.SystemRandom()  # a seed that a test sets would give every process the same ports


def free_port(host: str = "127.0.0.1") -> int:
    """Nobody listens there, and nobody was given it by this process."""
    with _lock:
        while True:
            port = _random.randrange(LOWEST, HIGHEST)
            if port not in _given and _is_free(host, port):
                _given.add(port)
                return port


def _is_free(host: str, port: int) -> bool:
    try:
        with socket.create_server((host, port)):
            return True
    except OSError:
        return False
