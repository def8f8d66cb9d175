"""Traces and metrics for an OpenTelemetry collector: `python -m penstock.serving.telemetry --home FOLDER`, beside the gateway, never in it.

It follows the gateway's records and sends them by OTLP/HTTP where the standard variables say (OTEL_EXPORTER_OTLP_ENDPOINT, …_HEADERS,
…_TIMEOUT, …_COMPRESSION, …_CERTIFICATE, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES). Spans arrive at least once: a batch that the
collector does not take is sent again, with pauses up to MAX_PAUSE_S, and given up after GIVE_UP_S (said in the log); what is on disk
meanwhile is the buffer. Metrics are histograms since the exporter's start, of the records whose spans it sent.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from penstock.core.errors import ExtraMissing, PenstockError
from penstock.serving.tail import Tail
from penstock.serving.telemetry_spans import PROVIDER, SCOPE, model_attributes, spans_of

log = logging.getLogger("penstock.telemetry")
POLL_S, BATCH, MAX_PAUSE_S, GIVE_UP_S = 1.0, 256, 60.0, 3600.0
FIRST_S = 300.0  # without a cursor: how far back records are taken
VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")
_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_FIRST_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_TOKENS = tuple(float(4**power) for power in range(14))


def wanted(environ: Mapping[str, str]) -> bool:
    """Whether somebody listens, by the standard variables."""
    return environ.get("OTEL_SDK_DISABLED", "").lower() != "true" and any(environ.get(name) for name in VARIABLES)


class Instruments:
    """The metrics of the conventions; `shown` also pushes what is counted so far."""

    def __init__(self, resource: Any) -> None:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

        self.provider = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())], resource=resource)
        meter = self.provider.get_meter(SCOPE)

        def histogram(name: str, unit: str, text: str, bounds: Sequence[float]) -> Any:
            return meter.create_histogram(name, unit, text, explicit_bucket_boundaries_advisory=bounds)

        self.duration = histogram("gen_ai.server.request.duration", "s", "From arrival to the end of the answer.", _SECONDS)
        self.first = histogram("gen_ai.server.time_to_first_token", "s", "From arrival to the first token.", _FIRST_S)
        self.each = histogram("gen_ai.server.time_per_output_token", "s", "Per token after the first.", _FIRST_S)
        self.tokens = histogram("gen_ai.client.token.usage", "{token}", "Tokens read and written by a request.", _TOKENS)

    def add(self, record: Mapping[str, Any]) -> None:
        if record.get("replica") is None:
            return
        labels = model_attributes(record)
        self.duration.record(record["total_ms"] / 1000, labels)
        written = record["completion_tokens"]
        if record.get("stream") and written:
            self.first.record(record["first_ms"] / 1000, labels)
            if written > 1:
                self.each.record((record["total_ms"] - record["first_ms"]) / 1000 / (written - 1), labels)
        for kind, count in (("input", record["prompt_tokens"]), ("output", written)):
            if count:
                self.tokens.record(count, {**labels, "gen_ai.token.type": kind})


class Exporter:
    """Sends what `tail` gives until it is told to stop."""

    def __init__(self, folder: Path) -> None:
        """`folder`: the gateway's. Raises ExtraMissing."""
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
        except ModuleNotFoundError as error:
            raise ExtraMissing(f"telemetry needs {error.name}", remedy="Run: pip install 'penstock[telemetry]'") from error
        named = "OTEL_SERVICE_NAME" in os.environ or "service.name" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
        self.resource = Resource.create({} if named else {"service.name": PROVIDER})
        self.tail = Tail(folder / "records", folder / "telemetry.json", time.time() - FIRST_S)
        self.spans = OTLPSpanExporter()
        self.instruments = Instruments(self.resource)
        self.stop = threading.Event()

    def run(self) -> None:
        """Until `stop` is set: then what is written already is sent once, without waiting for who does not answer."""
        while not self.stop.is_set():
            if not self._turn():
                self.stop.wait(POLL_S)
        self._turn()
        self.spans.shutdown()
        self.instruments.provider.shutdown()

    def _turn(self) -> bool:
        """Sends one batch; False when there was none."""
        records = self.tail.take(BATCH)
        if not records:
            return False
        if self._send([span for record in records for span in self._spans(record)], len(records)):
            for record in records:
                self.instruments.add(record)
        elif self.stop.is_set():
            return False  # the next start sends it
        try:
            self.tail.done()
        except PenstockError as error:
            log.error("the exporter's place cannot be saved (%s); after a restart some spans are sent again", error)
        return True

    def _spans(self, record: Mapping[str, Any]) -> list[Any]:
        try:
            return spans_of(record, self.resource)
        except (KeyError, TypeError, ValueError) as error:
            log.error("record %s cannot be told as spans (%s)", record.get("id"), error)
            return []

    def _send(self, spans: Sequence[Any], records: int) -> bool:
        from opentelemetry.sdk.trace.export import SpanExportResult

        began, pause = time.monotonic(), 1.0
        while spans and self.spans.export(spans) is not SpanExportResult.SUCCESS:
            if self.stop.is_set():
                return False
            if time.monotonic() - began > GIVE_UP_S:
                log.error("the collector took nothing for %d s: %d requests are given up", GIVE_UP_S, records)
                return False
            self.stop.wait(pause)
            pause = min(pause * 2, MAX_PAUSE_S)
        return True


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m penstock.serving.telemetry", description="Sends the gateway's records to a collector.")
    parser.add_argument("--home", required=True, type=Path, help="the gateway's folder, with records/")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    if not wanted(os.environ):
        log.error("nobody listens: set %s", VARIABLES[0])
        return 2
    try:
        exporter = Exporter(given.home)
    except PenstockError as error:
        log.error("%s %s", error, error.way_out)
        return error.exit_code
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: exporter.stop.set())
    exporter.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
