"""Ports of emulated containers: nobody else gets one between the answer and the start of the program."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from penstock.testing import ports
from penstock.testing.ports import free_port

RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def test_no_port_is_given_twice_or_taken_by_a_connection() -> None:
    given = [free_port() for _ in range(50)]
    assert len(set(given)) == 50
    if RANGE.exists():
        assert max(given) < int(RANGE.read_text().split()[0])


def test_where_somebody_listens_nothing_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(ports, "_given", set())
        monkeypatch.setattr(ports, "LOWEST", port)
        monkeypatch.setattr(ports, "HIGHEST", port + 2)
        assert free_port() == port + 1
