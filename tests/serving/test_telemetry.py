"""OpenTelemetry for real: gateway and exporter as processes, an OTLP/HTTP receiver on the real protos."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from penstock.serving.records import Record, RecordWriter
from penstock.testing.serving import SECRET, Stage, snapshot_of, wait_for

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector:
    """Takes traces and metrics; refuses the first `refusals` requests for traces with 503."""

    def __init__(self, refusals: int = 0) -> None:
        self.spans: list[Any] = []
        self.metrics: dict[str, Any] = {}
        self.resources: set[str] = set()
        self.refusals = refusals
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                body = gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body
                self.send_response(collector.take(self.path, body))
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def take(self, path: str, body: bytes) -> int:
        if path == "/v1/metrics":
            told = ExportMetricsServiceRequest.FromString(body)
            self.metrics.update({m.name: m for r in told.resource_metrics for s in r.scope_metrics for m in s.metrics})
            return 200
        if self.refusals > 0:
            self.refusals -= 1
            return 503
        sent = ExportTraceServiceRequest.FromString(body)
        for resource in sent.resource_spans:
            self.resources |= {a.value.string_value for a in resource.resource.attributes if a.key == "service.name"}
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        return 200

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()
    yield found
    found.close()


def start(folder: Path, collector: Collector) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_SERVICE_NAME": "shop",
        "OTEL_METRIC_EXPORT_INTERVAL": "200",
    }
    return subprocess.Popen([sys.executable, "-m", "penstock.serving.telemetry", "--home", str(folder)], env=environment)


def stop(process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> int:
    process.send_signal(number)
    return process.wait(30)


def attributes(span: Any) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}


def test_a_request_is_a_server_span_under_the_callers_with_queue_and_model_below(stage: Stage, collector: Collector) -> None:
    gateway = stage.gateway(snapshot_of(1, ("7", 1.0, [stage.replica("r-1")])))
    exporter = start(gateway.folder, collector)
    try:
        headers = {"authorization": f"Bearer {SECRET}", "traceparent": f"00-{TRACE}-{CALLER}-01"}
        asked = {"model": "echo", "messages": [{"role": "user", "content": "a secret word"}], "max_tokens": 4, "stream": True}
        with httpx.Client(base_url=gateway.url, headers=headers, trust_env=False) as client:
            answer = client.post("/v1/chat/completions", json=asked)
            assert answer.status_code == 200
            refused = client.post("/v1/chat/completions", json={"model": "none"})
            assert refused.status_code == 404
        wait_for(lambda: len(collector.spans) >= 4 and "gen_ai.client.token.usage" in collector.metrics, 20, "spans and metrics")
    finally:
        assert stop(exporter) == 0
    assert len(collector.spans) == 4
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE}
    assert collector.resources == {"shop"}
    server, queue, model = (next(s for s in collector.spans if s.name == n) for n in ("POST /v1/chat/completions", "queue", "chat echo"))
    assert server.parent_span_id.hex() == CALLER
    assert {queue.parent_span_id, model.parent_span_id} == {server.span_id}
    assert server.start_time_unix_nano <= queue.start_time_unix_nano <= queue.end_time_unix_nano == model.start_time_unix_nano
    assert model.end_time_unix_nano == server.end_time_unix_nano
    said = attributes(model)
    assert (said["gen_ai.operation.name"], said["gen_ai.request.model"], said["gen_ai.usage.output_tokens"]) == ("chat", "echo", 4)
    assert said["penstock.version"] == "7"
    assert attributes(server)["penstock.request.id"] == answer.headers["x-request-id"]
    (bad,) = [s for s in collector.spans if attributes(s).get("http.response.status_code") == 404]
    assert (bad.parent_span_id.hex(), bad.status.code) == (CALLER, 0)
    assert "secret" not in str(collector.spans)
    usage = {attributes(p)["gen_ai.token.type"]: p.sum for p in collector.metrics["gen_ai.client.token.usage"].histogram.data_points}
    assert usage["output"] == 4
    assert {"gen_ai.server.request.duration", "gen_ai.server.time_to_first_token"} <= set(collector.metrics)


def test_spans_arrive_at_least_once_through_refusals_and_kills(tmp_path: Path, collector: Collector) -> None:
    collector.refusals = 2

    def record(number: int) -> Record:
        counted = (200, 10, 20, 3, 4, 0.1, 1.0, 1.5, 1)
        return Record(time.time(), f"req-{number}", "m", "1", "r", "/v1/classify", "key", *counted, trace=TRACE, span=f"{number + 1:016x}")

    writer = RecordWriter(tmp_path / "records")
    writer.write([record(n) for n in range(600)])
    first = start(tmp_path, collector)
    try:
        wait_for(lambda: len(collector.spans) > 0, 30, "the first batch")
    finally:
        stop(first, signal.SIGKILL)
    writer.write([record(n) for n in range(600, 700)])
    second = start(tmp_path, collector)
    try:
        wait_for(lambda: len({s.span_id for s in collector.spans}) >= 2100, 30, "every span")
    finally:
        assert stop(second) == 0
    servers = [attributes(s)["penstock.request.id"] for s in collector.spans if s.name.startswith("POST")]
    assert set(servers) == {f"req-{n}" for n in range(700)}
    assert len(servers) <= 700 + 256  # at most the batch that the kill fell into comes twice
    assert len({s.span_id for s in collector.spans}) == 2100  # and then as the same spans


def test_without_a_collector_it_says_what_to_set(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-m", "penstock.serving.telemetry", "--home", str(tmp_path)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in done.stderr
