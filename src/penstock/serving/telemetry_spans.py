"""From a record to OpenTelemetry spans, by the semantic conventions for HTTP servers and for generative AI.

A request is a server span (its ids are the record's, so it hangs under the caller's `traceparent`), with two children: `queue`, until it
was sent to a replica, and `chat <model>` (or `text_completion`, `embeddings`, `classify`), until the answer ended. Ids of the children
follow from the server span's, so a record exported twice makes the same spans twice. No text is exported, whatever the records hold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan

SCOPE, PROVIDER = "penstock.gateway", "penstock"
OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
    "/v1/classify": "classify",
}


def spans_of(record: Mapping[str, Any], resource: Resource) -> list[ReadableSpan]:
    """The server span first; nothing for a record without trace ids."""
    if not record.get("trace") or not record.get("span"):
        return []
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanKind

    def span(name: str, kind: SpanKind, ids: tuple[str, str | None], times: tuple[float, float], said: Mapping[str, Any]) -> ReadableSpan:
        begin = int(record["ts"] * 1e9)
        return ReadableSpan(
            name,
            context=_context(record["trace"], ids[0]),
            parent=_context(record["trace"], ids[1], remote=True) if ids[1] else None,
            resource=resource,
            attributes={key: value for key, value in said.items() if value is not None},
            kind=kind,
            status=_status(record),
            start_time=begin + int(times[0] * 1e6),
            end_time=begin + int(max(times) * 1e6),
            instrumentation_scope=InstrumentationScope(SCOPE),
        )

    own, total, queue = record["span"], record["total_ms"], min(record["queue_ms"], record["total_ms"])
    server = span(f"POST {record['route']}".strip(), SpanKind.SERVER, (own, record.get("parent")), (0.0, total), _server(record))
    if record.get("replica") is None:
        return [server]
    model = record["model"]
    waiting = span("queue", SpanKind.INTERNAL, (_child(own, "queue"), own), (0.0, queue), {"penstock.attempts": record["attempts"]})
    name = f"{OPERATIONS.get(record['route'], 'chat')} {model}"
    return [server, waiting, span(name, SpanKind.CLIENT, (_child(own, "model"), own), (queue, total), model_attributes(record, whole=True))]


def model_attributes(record: Mapping[str, Any], *, whole: bool = False) -> dict[str, Any]:
    """`gen_ai.*` of a record; without `whole` only those that make few different series, for metrics."""
    few = {
        "gen_ai.operation.name": OPERATIONS.get(record["route"], "chat"),
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": record.get("fallback_for") or record["model"],
        "gen_ai.response.model": record["model"],
        "penstock.version": record["version"],
        "error.type": _error(record),
    }
    if not whole:
        return {key: value for key, value in few.items() if value is not None}
    return {
        **few,
        "gen_ai.response.id": record["id"],
        "gen_ai.request.stream": record.get("stream"),
        "gen_ai.usage.input_tokens": record["prompt_tokens"],
        "gen_ai.usage.output_tokens": record["completion_tokens"],
        "gen_ai.response.time_to_first_chunk": (record["first_ms"] - record["queue_ms"]) / 1000 if record.get("stream") else None,
        "penstock.replica": record["replica"],
        "penstock.adapter": record.get("adapter"),
    }


def _server(record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "http.request.method": "POST",
        "http.route": record["route"] or None,
        "url.path": record["route"] or None,
        "http.response.status_code": record["status"],
        "http.request.body.size": record["bytes_in"],
        "http.response.body.size": record["bytes_out"],
        "error.type": _error(record),
        "penstock.request.id": record["id"],
        "penstock.model": record["model"],
        "penstock.version": record["version"],
        "penstock.replica": record["replica"],
        "penstock.key": record["key"],
        "penstock.queue_ms": record["queue_ms"],
        "penstock.first_byte_ms": record["first_ms"],
        "penstock.guard_ms": record.get("guard_ms") or None,
        "penstock.findings": list(record.get("flags") or ()) or None,
        "penstock.experiment": record.get("experiment"),
        "penstock.shadow_of": record.get("shadow_of"),
        "penstock.hedged": record.get("hedged") or None,
        "penstock.cost_usd": record.get("cost_usd") or None,
        "penstock.energy_wh": record.get("energy_wh") or None,
    }


def _error(record: Mapping[str, Any]) -> str | None:
    return (record.get("error") or str(record["status"])) if record["status"] >= 500 else None


def _status(record: Mapping[str, Any]) -> Any:
    """By the conventions a server's span is in error from 500 on; what the client did wrong is none of its."""
    from opentelemetry.trace.status import Status, StatusCode

    return Status(StatusCode.ERROR, record.get("error")) if record["status"] >= 500 else Status(StatusCode.UNSET)


def _child(span: str, name: str) -> str:
    return hashlib.blake2b(f"{span}/{name}".encode(), digest_size=8).hexdigest()


def _context(trace: str, span: str, *, remote: bool = False) -> Any:
    from opentelemetry.trace import SpanContext, TraceFlags

    return SpanContext(int(trace, 16), int(span, 16), remote, TraceFlags(TraceFlags.SAMPLED))
