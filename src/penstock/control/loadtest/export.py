"""The same load as a script for k6 or Locust: same arrivals' rates, same bodies, the key from the environment variable PENSTOCK_KEY.

Not covered: times of a replayed trace (each tool has rates, not times; the trace becomes steps of mean rate), random arrivals in k6 (its
arrival-rate executors space them evenly), time to first token in either (a stream is read as a plain body).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from penstock.control.loadtest.arrivals import Piece
from penstock.control.loadtest.orders import Order
from penstock.core.errors import BadInput

TOOLS = ("k6", "locust")
UNIT_S = 10  # k6's rate is a whole number of requests a time unit; so tenths of a request a second are kept


def export(tool: str, url: str, orders: Sequence[Order], pieces: Sequence[Piece], concurrency: int | None = None) -> str:
    """The script's text. `concurrency` makes a closed loop instead of `pieces` (whose seconds still count). Raises BadInput."""
    if tool not in TOOLS:
        raise BadInput(f"no script can be written for {tool!r} (there are: {', '.join(TOOLS)})")
    bodies = [order.body.decode() for order in orders]
    if tool == "k6":
        return _k6(url.rstrip("/") + orders[0].path, bodies, pieces, concurrency)
    return _locust(url.rstrip("/"), orders[0].path, bodies, pieces, concurrency)


def scenarios(pieces: Sequence[Piece], concurrency: int | None) -> dict[str, Any]:
    """k6's scenario: constant where one rate is held, ramping where it changes; steps are ramps of no length."""
    seconds = sum(piece.seconds for piece in pieces)
    if concurrency is not None:
        return {"executor": "constant-vus", "vus": concurrency, "duration": _time(seconds)}
    most = max(max(piece.start, piece.end) for piece in pieces)
    users = {"preAllocatedVUs": max(10, min(500, round(most))), "maxVUs": max(100, min(5000, round(most * 10)))}
    common = {"timeUnit": f"{UNIT_S}s", **users}
    if len(pieces) == 1 and pieces[0].start == pieces[0].end:
        return {"executor": "constant-arrival-rate", "rate": _rate(pieces[0].start), "duration": _time(seconds), **common}
    stages: list[dict[str, Any]] = []
    before = pieces[0].start
    for piece in pieces:
        if piece.start != before:
            stages.append({"target": _rate(piece.start), "duration": "0s"})
        stages.append({"target": _rate(piece.end), "duration": _time(piece.seconds)})
        before = piece.end
    return {"executor": "ramping-arrival-rate", "startRate": _rate(pieces[0].start), "stages": stages, **common}


def _rate(a_second: float) -> int:
    return max(1, round(a_second * UNIT_S)) if a_second else 0


def _time(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"


def _k6(url: str, bodies: Sequence[str], pieces: Sequence[Piece], concurrency: int | None) -> str:
    scenario = json.dumps({"load": {**scenarios(pieces, concurrency), "gracefulStop": "30s"}}, indent=2)
    return f"""// Load on {url}, written by `penstock bench --export k6`. Run: PENSTOCK_KEY=… k6 run THIS_FILE
// Arrivals do not wait for answers (open model) unless the executor is constant-vus.
import http from 'k6/http';
import {{ check }} from 'k6';
import {{ SharedArray }} from 'k6/data';

const bodies = new SharedArray('bodies', () => {json.dumps(bodies)});
const url = __ENV.PENSTOCK_URL || {json.dumps(url)};

export const options = {{
  scenarios: {scenario},
  summaryTrendStats: ['avg', 'min', 'med', 'p(90)', 'p(95)', 'p(99)', 'max'],
  thresholds: {{ checks: ['rate>=0'], dropped_iterations: ['count>=0'] }},
}};

export default function () {{
  const headers = {{ 'Content-Type': 'application/json' }};
  if (__ENV.PENSTOCK_KEY) headers.Authorization = `Bearer ${{__ENV.PENSTOCK_KEY}}`;
  const body = bodies[(__VU * 7919 + __ITER) % bodies.length];
  const answer = http.post(url, body, {{ headers, timeout: '120s' }});
  check(answer, {{
    'status is 200': (r) => r.status === 200,
    'stream is whole': (r) => !(r.body || '').startsWith('data:') || r.body.trimEnd().endsWith('data: [DONE]'),
  }});
}}
"""


def _locust(url: str, path: str, bodies: Sequence[str], pieces: Sequence[Piece], concurrency: int | None) -> str:
    rows = [(piece.seconds, piece.start, piece.end) for piece in pieces]
    return f'''"""Load on {url}{path}, written by `penstock bench --export locust`. Run: PENSTOCK_KEY=… locust --headless -f THIS_FILE

A clock in one greenlet starts each request when it is due, so arrivals do not wait for answers; where CLIENTS is a number, so many
clients send the next request when the last is answered.
"""

import os
import random
import time

import gevent
from locust import FastHttpUser, LoadTestShape, constant, task

PIECES = {rows!r}  # seconds, requests/s at its beginning and end
CLIENTS = {concurrency!r}
PATH = {path!r}
BODIES = {json.dumps(list(bodies))}


class Caller(FastHttpUser):
    host = os.environ.get("PENSTOCK_URL", {url!r})
    wait_time = constant(0)
    concurrency = 1000
    connection_timeout = network_timeout = 120.0

    def ask(self):
        headers = {{"Content-Type": "application/json"}}
        if key := os.environ.get("PENSTOCK_KEY"):
            headers["Authorization"] = f"Bearer {{key}}"
        with self.client.post(PATH, data=random.choice(BODIES), headers=headers, catch_response=True) as answer:
            text = answer.text or ""
            if answer.status_code == 200 and text.startswith("data:") and not text.rstrip().endswith("data: [DONE]"):
                answer.failure("the stream ended without [DONE]")

    @task
    def load(self):
        if CLIENTS is not None:
            self.ask()
            return
        begun, offset = time.monotonic(), 0.0
        for seconds, start, end in PIECES:
            at = 0.0
            while True:
                rate = start + (end - start) * at / seconds
                if rate <= 0:
                    at += 0.01
                else:
                    at += random.expovariate(rate)
                if at >= seconds:
                    break
                gevent.sleep(max(0.0, begun + offset + at - time.monotonic()))
                if rate > 0:
                    gevent.spawn(self.ask)
            offset += seconds
        gevent.sleep(3600)  # the shape ends the test


class Whole(LoadTestShape):
    def tick(self):
        if self.get_run_time() > sum(piece[0] for piece in PIECES) + (0 if CLIENTS else 2):
            return None
        users = CLIENTS or 1
        return users, users
'''
