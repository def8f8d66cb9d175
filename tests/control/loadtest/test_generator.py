"""The generator against servers whose delays are known: what it reports must be what arithmetic says.

Other work may slow the machine while these run, so what is compared is what slowness cannot make: too small numbers, wrong counts.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable

import pytest

from penstock.control.loadtest.arrivals import Piece, Shape, constant
from penstock.control.loadtest.drive import Alarm
from penstock.control.loadtest.knee import Promise
from penstock.control.loadtest.session import Session, driven
from penstock.core.errors import PenstockError

pytestmark = pytest.mark.load
Server = Callable[..., str]
On = Callable[..., Session]


def test_a_fixed_delay_is_measured(server: Server, session: On) -> None:
    result = driven(session(server("--delay-ms", "20")).shaped(constant(200, 1.5)))["result"]
    assert result["failed"] == 0
    assert result["requests"] == pytest.approx(300, abs=60)
    assert 19.9 <= result["latency"]["min_ms"] <= result["latency"]["p50_ms"] <= 25
    assert result["generator"]["lateness"]["p50_ms"] < 2


def test_a_stall_is_charged_to_all_who_came_during_it(server: Server, session: On) -> None:
    """One second of two is stalled: a closed loop of one client sees one slow answer; the open loop half of its requests."""
    open_ = driven(session(server("--delay-ms", "1", "--stall", "0.5:1"), arrivals="uniform").shaped(constant(100, 2)))
    latency = open_["result"]["latency"]
    assert latency["p50_ms"] < 300 <= latency["p90_ms"]
    assert latency["max_ms"] == pytest.approx(1000, abs=120)
    slow = [window for window in open_["result"]["timeline"] if window.get("p95_ms", 0) > 300]
    assert slow
    closed = driven(session(server("--delay-ms", "1", "--stall", "0.5:1")).closed(1, 2))["result"]["latency"]
    assert closed["p90_ms"] < 50  # the omission that the open loop does not make
    assert closed["max_ms"] > 800


def test_a_queue_waits_as_long_as_theory_says(server: Server, session: On) -> None:
    """One server, 5 ms of service, 100/s: M/D/1 has a mean of s + ρs/2(1-ρ) = 7.5 ms (Pollaczek-Khinchine)."""
    result = driven(session(server("--delay-ms", "5", "--workers", "1")).shaped(constant(100, 3)))["result"]
    assert 6.0 < result["latency"]["mean_ms"] < 30  # above 5 + 1: it queues; a busy machine only adds
    assert result["latency"]["mean_ms"] >= result["service_time"]["mean_ms"]


def test_streams_give_first_tokens_and_gaps(server: Server, session: On) -> None:
    url = server("--delay-ms", "10", "--events", "5", "--gap-ms", "8")
    result = driven(session(url, stream=True).shaped(constant(30, 1.5)))["result"]
    assert result["failed"] == 0
    assert 9.9 <= result["first_token"]["p50_ms"] < 25
    assert 6.5 <= result["inter_token"]["p50_ms"] < 15
    assert result["inter_token"]["count"] == 4 * result["succeeded"]
    assert result["latency"]["p50_ms"] >= 10 + 4 * 8 - 1


def test_failures_have_kinds(server: Server, session: On) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        result = driven(session(url, timeout_s=0.3).shaped(constant(40, 0.5)))["result"]
        assert set(result["errors"]) == {"timeout"}
        assert result["error_rate"] == 1.0
    result = driven(session(url).shaped(constant(40, 0.5)))["result"]
    assert set(result["errors"]) == {"connect"}
    assert "no connection" in result["first_messages"]["connect"]
    whole = driven(session(server("--delay-ms", "1"), stream=True).shaped(constant(40, 0.5)))["result"]
    assert whole["errors"] == {"mid-stream": whole["requests"]}  # a stream was asked for, and [DONE] never came


def test_answers_cut_off_or_refused_are_told_apart(session: On) -> None:
    async def main() -> dict[str, int]:
        number = 0

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal number
            number += 1
            await reader.readuntil(b"\r\n\r\n")
            cut = b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{"
            refused = b'HTTP/1.1 429 No\r\ncontent-length: 32\r\n\r\n{"error": {"message": "slower"}}'
            writer.write((cut, refused, b"")[number % 3])
            await writer.drain()
            writer.close()

        listening = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with listening:
            url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
            return (await session(url).shaped(constant(60, 0.5)))["result"]

    result = driven(main())
    assert set(result["errors"]) == {"mid-stream", "status 429", "reset"}  # type: ignore[index]
    assert result["first_messages"]["status 429"] == "slower"  # type: ignore[index]


def test_a_generator_that_falls_behind_says_so(server: Server, session: On) -> None:
    """Making a request takes 4 ms here, and one is due every 2.5 ms."""
    made = session(server(), arrivals="uniform")
    orders = made.orders

    def slowly() -> object:
        for order in orders:
            time.sleep(0.004)
            yield order

    made.orders = slowly()  # type: ignore[assignment]
    found = driven(made.shaped(constant(400, 1)))["result"]["generator"]
    assert not found["valid"]
    assert "late" in found["reasons"][0]
    assert found["lateness"]["max_ms"] > 200


def test_few_connections_are_told_and_charged(server: Server, session: On) -> None:
    result = driven(session(server("--delay-ms", "50"), connections=2).shaped(constant(80, 1)))["result"]
    assert result["generator"]["waited_for_connection"] > 20
    assert result["latency"]["p50_ms"] > 2 * result["service_time"]["p50_ms"]  # the wait is latency, not service


@pytest.mark.slow
def test_the_knee_of_a_known_server(server: Server, session: On, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two at once, 10 ms each: 200/s is the end of it."""
    monkeypatch.setattr("penstock.control.loadtest.session.LEAST_TRIAL_S", 1.0)
    monkeypatch.setattr("penstock.control.loadtest.session.SETTLE_S", 0.3)
    monkeypatch.setattr("penstock.control.loadtest.session.MOST_TRIAL_S", 2.0)
    report = driven(session(server("--delay-ms", "10", "--workers", "2")).knee(Promise(0.9, 0.08), 40, 2000))
    assert report["max_rate"] is not None
    assert 40 <= report["max_rate"] <= 205
    assert report["broken_at"] is None or report["broken_at"] <= 640
    assert [trial["rate"] for trial in report["trials"]] == sorted(trial["rate"] for trial in report["trials"])


def test_overload_is_over_when_latency_is_normal_again(server: Server, session: On) -> None:
    found = driven(session(server("--delay-ms", "10", "--workers", "2")).overload(150, 5, times_over=2.0))
    assert found["peak_p95_ms"] > 3 * found["before_p95_ms"]
    assert found["seconds"] is None or 0 <= found["seconds"] < 4
    assert [piece["rate"] for piece in found["pieces"]] == [75, 300, 75]


def test_a_target_that_answers_nothing_well_ends_before_the_test(session: On) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(PenstockError, match="answered none"):
        driven(session(f"http://127.0.0.1:{port}", warmup_s=0.2).warm_up())


def test_the_alarm_is_finer_than_a_millisecond() -> None:
    async def main() -> list[float]:
        alarm, late = Alarm(asyncio.get_running_loop()), []
        for _ in range(200):
            moment = time.monotonic() + 0.0013
            await alarm.until(moment)
            late.append(time.monotonic() - moment)
        alarm.close()
        return sorted(late)

    late = driven(main())
    assert late[0] >= 0  # never early
    assert late[100] < 0.0005


def test_pieces_without_requests_are_fine(server: Server, session: On) -> None:
    shape = Shape("pause", (Piece(0.3, 50, 50), Piece(0.5, 0, 0), Piece(0.3, 50, 50)))
    report = driven(session(server(), arrivals="uniform").shaped(shape))
    assert [piece["requests"] for piece in report["pieces"]] == [15, 0, 15]
