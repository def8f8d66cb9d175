"""What becomes of one row, whoever was asked: refused before it is sent, answered, or refused by the engine. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from penstock.core.errors import BadInput
from penstock.serving.batch.columns import answers_of, body_of, openai_line, openai_order, output_row, text_of
from penstock.serving.batch.rows import Row
from penstock.spec.steps import PredictConfig


@dataclass(frozen=True, slots=True)
class Outcome:
    """`line` is what is written for the row; `error` is "" where it was answered."""

    row: Row
    line: dict[str, Any]
    error: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """The request of one row."""

    path: str
    body: bytes


def asked(row: Row, config: PredictConfig) -> Asked | Outcome:
    """The request of a row by itself; the outcome of one that cannot be sent."""
    if config.form == "openai":
        return _openai(row, config)
    text = text_of(row, config)
    return unsendable([row], config) or Asked(config.path, body_of([str(text)], [row], config))


def unsendable(rows: Sequence[Row], config: PredictConfig) -> Outcome | None:
    """Of rows that share a request: why they cannot be sent, which is told of the first."""
    texts = [text_of(row, config) for row in rows]
    fault = rows[0].fault or (f"the column {config.text!r} holds no text" if texts[0] is None else "")
    if not fault and sum(len(text.encode("utf-8", "replace")) for text in texts if text is not None) > config.max_payload_bytes:
        fault = f"the text is longer than the {config.max_payload_bytes:,} bytes that a request may hold"
    return failed(rows[0], fault, config) if fault else None


def failed(row: Row, error: str, config: PredictConfig) -> Outcome:
    """Of a row that was not answered, for a reason that is not the engine's."""
    if config.form == "openai":
        return lost(row, "unanswered", error)
    return Outcome(row, output_row(row, {}, error, config), error)


def lost(row: Row, code: str, error: str) -> Outcome:
    """Of a line of OpenAI's format that was not answered."""
    return Outcome(row, openai_line(row, 0, None, {"code": code, "message": error}), error)


def unanswered(row: Row, value: Any, config: PredictConfig) -> Outcome:
    """Of a row that no replica survived: `value` is an error's body that says how."""
    message, code = message_of(value), value["error"].get("code", "lost") if isinstance(value, dict) and "error" in value else "lost"
    return lost(row, str(code), message) if config.form == "openai" else failed(row, message, config)


def judged(row: Row, status: int, value: Any, config: PredictConfig) -> Outcome:
    """Of a row that was asked by itself and got this status with this JSON value."""
    error = "" if status == 200 else f"{status}: {message_of(value)}"
    if config.form == "openai":
        return Outcome(row, openai_line(row, status, value, None), error)
    if error:
        return failed(row, error, config)
    try:
        return Outcome(row, output_row(row, answers_of(value, 1, config)[0], None, config))
    except (KeyError, TypeError) as shape:
        return failed(row, misshapen(shape), config)


def message_of(value: Any) -> str:
    """What an error's body says."""
    return str(value["error"]["message"]) if isinstance(value, dict) and isinstance(value.get("error"), dict) else "no reason"


def misshapen(error: Exception) -> str:
    return f"the answer has no known shape ({error})"


def _openai(row: Row, config: PredictConfig) -> Asked | Outcome:
    try:
        if row.fault:
            raise BadInput(row.fault)
        path, body = openai_order(row, config)
        if len(body) > config.max_payload_bytes:
            raise BadInput(f"the body is longer than {config.max_payload_bytes:,} bytes")
    except BadInput as error:
        return lost(row, "invalid_request", error.message)
    return Asked(path, body)
