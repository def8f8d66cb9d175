"""What each part of the gateway's work costs a request, in CPU microseconds, all in one process: `python benchmarks/request_costs.py`.

CPU time of this process, not wall time, and the best of several rounds: other load on the machine moves it little. The cost of writing
records is that of the writer's thread, which shares the interpreter with the event loop.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from penstock.serving.capture import Captured
from penstock.serving.energy import Share
from penstock.serving.guardrails import Guards
from penstock.serving.identity import Keyring, request_id
from penstock.serving.limits import Limiter
from penstock.serving.metrics import RequestMetrics
from penstock.serving.params import parse_object
from penstock.serving.records import Record, RecordWriter
from penstock.serving.routing import pick_version
from penstock.serving.snapshot import Guard, KeyEntry, KeyLimits
from penstock.serving.tracing import trace_of

ROUNDS = 5
TEXT = "Please tell me how I can change the delivery address of my order; it was placed last week and has not been sent. " * 4
BODY = json.dumps({"model": "support-chat", "messages": [{"role": "user", "content": TEXT}], "max_tokens": 64}).encode()
ANSWER = json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}}]}).encode()
MUCH = {"requests_per_minute": 1e12, "tokens_per_minute": 1e12}
Part = tuple[str, Callable[[], object], int]  # name, one turn, requests a turn


def record() -> Record:
    return Record(
        *(time.time(), "req-5f0c2a9be1d200000012", "support-chat", "3", "support-chat-3-a", "/v1/chat/completions", "key-1", 200),
        *(len(BODY), len(ANSWER), 120, 64, 0.2, 8.0, 80.0, 1),
        trace="0af7651916cd43dd8448eb211c80319c",
        span="b7ad6b7169203331",
        session="5e7f",
        cost_usd=0.0004,
    )


def routing() -> Iterator[Part]:
    secret = "psk-0123456789abcdef0123456789abcdef"
    keyring = Keyring([KeyEntry("key-1", "one", hashlib.sha256(secret.encode()).hexdigest())])
    headers = {b"authorization": b"Bearer " + secret.encode(), b"content-type": b"application/json"}
    yield "key look-up", lambda: keyring.find(headers), 1
    yield "request id and trace context", lambda: (request_id(headers), trace_of(headers)), 1
    yield f"reading the body ({len(BODY)} bytes)", lambda: parse_object(BODY), 1
    yield "version, one", lambda: pick_version({"3": 1.0}, b"key-1 127.0.0.1"), 1
    yield "version, two by weight", lambda: pick_version({"3": 0.9, "4": 0.1}, b"key-1 127.0.0.1"), 1


def limits(folder: Path, stack: ExitStack) -> Iterator[Part]:
    cases = {
        "none": ({}, 0.0),
        "requests and tokens a minute": (MUCH, 0.0),
        "concurrency": ({"concurrency": 1_000_000}, 0.0),
        "budget": ({"budget_usd": 1e12}, 0.0004),
        "all of them": ({**MUCH, "concurrency": 1_000_000, "budget_usd": 1e12}, 0.0004),
    }
    for workers in (1, 4):
        for name, (given, cost) in cases.items():
            entry = KeyEntry("key-1", "one", "0" * 64, limits=KeyLimits(**given))  # type: ignore[arg-type]
            place = folder / f"{name}-{workers}".replace(" ", "-")
            found = [Limiter(place, None if workers == 1 else number) for number in range(workers)]
            for limiter in found:
                stack.callback(limiter.close)
                limiter.configure([entry])

            def turn(limiter: Limiter = found[0], entry: KeyEntry = entry, cost: float = cost) -> None:
                granted = limiter.admit(entry, 180, 1.0, cost)
                if granted.state.rated:
                    granted.headers  # noqa: B018 - the header lines are made when they are read
                limiter.settle(granted, 184, cost)

            yield f"limits: {name}" + (f", {workers} workers" if workers > 1 else ""), turn, 1


def records(folder: Path) -> Iterator[Part]:
    row, batch, writer = record(), [record() for _ in range(256)], RecordWriter(folder / "records")

    def captured() -> None:
        texts = {place: Captured(BODY) for place in range(256)}
        for each in texts.values():
            each.add(ANSWER)
        writer.write(batch, texts)

    share = Share()
    writer.energy = lambda _, seconds: share.take(seconds)
    yield "record: made", record, 1
    yield "record: written, with its energy (thread)", lambda: writer.write(batch), 256
    yield f"record: written with masked texts of {2 * len(TEXT)} characters (thread)", captured, 256
    metrics = RequestMetrics("penstock")
    metrics_of = ("/v1/chat/completions", "support-chat", "3", 200)
    yield "metrics", lambda: (metrics.done(*metrics_of, 0.08), metrics.used("support-chat", "3", 120, 64), row), 1


def guards() -> Iterator[Part]:
    value = parse_object(BODY)
    for check in ("personal_data", "words"):
        guard = Guards([Guard(check, "mask", words=("refund",) if check == "words" else ())])
        yield f"guard: {check}, {len(TEXT)} characters", lambda guard=guard: guard.input("/v1/chat/completions", value), 1


def measured(turn: Callable[[], object], requests: int, seconds: float) -> float:
    """CPU microseconds a request: the best of ROUNDS rounds of about `seconds` each."""
    count, spent = 1, 0.0
    while spent < 0.01:
        count *= 2
        began = time.process_time()
        for _ in range(count):
            turn()
        spent = time.process_time() - began
    count = max(1, int(count * seconds / spent))
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(count):
            turn()
        best = min(best, time.process_time() - began)
    return best / count / requests * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.2, help="CPU time of one round of one part")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        print(f"{'part':<72} µs a request")
        for parts in (routing(), limits(Path(folder), stack), records(Path(folder)), guards()):
            for name, turn, requests in parts:
                print(f"{name:<72} {measured(turn, requests, given.seconds):>9.2f}", flush=True)


if __name__ == "__main__":
    main()
