"""The output side of the guards for one answer: a stream of server-sent events in, a checked one out; or a whole JSON answer.

Events are re-framed: a piece of text that must wait travels in a later event. Events that carry no text (roles, usage, errors, comments)
pass as they are. Where a guard blocks or masks, `logprobs` are taken out, since they spell the text.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from penstock.screening.masking import masked
from penstock.serving.errors import RequestRefused
from penstock.serving.guard_findings import Rail, Tally
from penstock.serving.guard_strand import Blocked, Strand
from penstock.serving.guard_texts import SPOKEN, over_message

_BLANK = re.compile(rb"\r?\n\r?\n")
_FIELD = re.compile(rb"(?:event|id|retry):")
_MAX_EVENT = 8 << 20  # bytes
DONE = b"data: [DONE]\n\n"
Key = tuple[int, str, int]  # choice, field, number of the tool call


class OutputGuard:
    """`feed` and `end` for a stream, or `whole` for a JSON answer. After a block, `blocked` is True and nothing more comes out."""

    def __init__(self, rails: Sequence[Rail], stream: bool) -> None:
        acting = [rail for rail in rails if rail.action != "flag"]
        self._rails, self._stream = rails, stream
        self._acting, self._noting = acting, [rail for rail in rails if rail.action == "flag"]
        self._tally = Tally("output", rails)
        self._strands: dict[Key, Strand] = {}
        self._notes: dict[Key, _Notes] = {}
        self._buffer = b""
        self._base: dict[str, Any] = {}
        self.seconds = 0.0
        self.blocked = False

    @property
    def flags(self) -> tuple[str, ...]:
        return self._tally.flags()

    def feed(self, data: bytes) -> bytes:
        """Bytes of the stream that may go to the client now. Raises RequestRefused (502) for an event of more than 8 MiB."""
        start = time.perf_counter()
        if self.blocked:
            return b""
        self._buffer += data
        out, last = [], 0
        try:
            for blank in _BLANK.finditer(self._buffer):
                event = self._buffer[last : blank.end()]
                last = blank.end()
                out.append(self._event(event))
        except Blocked:
            out.append(self._stopped())
        self._buffer = self._buffer[last:]
        if len(self._buffer) > _MAX_EVENT:
            raise RequestRefused(502, f"An event of the answer has more than {_MAX_EVENT} bytes", "bad_answer")
        self.seconds += time.perf_counter() - start
        return b"".join(out)

    def end(self) -> bytes:
        """What still waits when the replica's stream is over, however it ended."""
        start = time.perf_counter()
        if self.blocked:
            return b""
        left, self._buffer = self._buffer, b""
        try:
            last = self._event(left) if left.strip() else b""
            out = last + self._rest(None)
        except Blocked:
            out = self._stopped()
        self.seconds += time.perf_counter() - start
        return out

    def whole(self, body: bytes) -> bytes:
        """A JSON answer as it may go to the client. Raises RequestRefused (502) for one that cannot be read where guards block or mask."""
        start = time.perf_counter()
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError:
            if self._acting:
                raise RequestRefused(502, "The answer is not JSON and cannot be checked", "bad_answer") from None
            return body
        choices = answer.get("choices") if isinstance(answer, dict) else None
        if not isinstance(choices, list):
            if self._acting:
                raise RequestRefused(502, "The answer has no choices and cannot be checked", "bad_answer")
            return body
        new = [self._choice(choice) for choice in choices]
        changed = any(a is not b for a, b in zip(choices, new, strict=True))
        self.seconds += time.perf_counter() - start
        return orjson.dumps({**answer, "choices": new}) if changed else body

    def _choice(self, choice: Any) -> Any:
        if not isinstance(choice, dict):
            return choice
        try:
            new = over_message(choice, self._edit)
            if isinstance(choice.get("text"), str) and (text := self._edit(choice["text"], "")) != choice["text"]:
                new = {**new, "text": text}
            message = over_message(choice.get("message"), self._edit)
        except Blocked:
            empty = {"text": ""} if "text" in choice else {"message": {"role": "assistant", "content": "", "refusal": None}}
            return {**choice, **empty, "finish_reason": "content_filter", "logprobs": None}
        if message is not choice.get("message"):
            new = {**new, "message": message}
        return new if new is choice else {**new, "logprobs": None}

    def _edit(self, text: str, role: str) -> str:  # noqa: ARG002 (all of an answer is judged alike)
        for rail in self._rails:
            if found := rail.check.find(text):
                self._tally.add(rail, found)
                if rail.action == "block":
                    raise Blocked
                if rail.action == "mask":
                    text = masked(text, found)
        return text

    def _event(self, event: bytes) -> bytes:
        lines = [line[5:].lstrip() for line in event.splitlines() if line.startswith(b"data:")]
        payload = b"\n".join(lines)
        if payload == b"[DONE]":
            return self._rest(None) + event
        try:
            chunk: Any = orjson.loads(payload) if lines else {}
        except orjson.JSONDecodeError:
            chunk = None
        choices = chunk.get("choices") if isinstance(chunk, dict) else None
        if not isinstance(choices, list) or not choices:
            if self._acting and not _harmless(event, chunk if lines else None):
                raise RequestRefused(502, "The replica sent an event that cannot be checked", "bad_answer")
            return event
        self._base = {key: chunk[key] for key in ("id", "object", "created", "model", "system_fingerprint") if key in chunk}
        before, carries = b"", False
        for choice in choices:
            if isinstance(choice, dict):
                late, said = self._piece(choice)
                before, carries = before + late, carries or said
        if not self._acting:
            return event
        if not carries and chunk.get("usage") is None:
            return before
        return before + b"data: %b\n\n" % orjson.dumps(chunk)

    def _piece(self, choice: dict[str, Any]) -> tuple[bytes, bool]:
        """Guards one choice of a chunk in place: (events that must come before it, whether anything is left in it)."""
        index = choice.get("index")
        index = index if isinstance(index, int) else 0
        texts = False
        left = choice.get("finish_reason") is not None
        for key, holder, field in _texts(index, choice):
            texts = True
            holder[field] = self._through(key, holder[field])
            left = left or bool(holder[field])
        if self._acting and choice.get("logprobs") is not None:
            choice["logprobs"] = None
        rest = self._rest(index) if choice.get("finish_reason") is not None else b""
        return rest, left or not texts or _names_something(choice.get("delta"))

    def _through(self, key: Key, text: str) -> str:
        if self._noting:
            if key not in self._notes:
                self._notes[key] = _Notes(Strand(self._noting, self._tally))
            self._notes[key].feed(text)
        if not self._acting:
            return text
        if key not in self._strands:
            self._strands[key] = Strand(self._acting, self._tally, json=key[1] == "arguments")
        return self._strands[key].feed(text)

    def _rest(self, index: int | None) -> bytes:
        """Events with what the strands of a choice, or of all, still held back."""
        for note in [note for key, note in self._notes.items() if index is None or key[0] == index]:
            note.end()
        events = []
        for key in [key for key in self._strands if index is None or key[0] == index]:
            if text := self._strands.pop(key).end():
                events.append(b"data: %b\n\n" % orjson.dumps({**self._base, "choices": [self._carrier(key, text)]}))
        return b"".join(events)

    def _carrier(self, key: Key, text: str) -> dict[str, Any]:
        index, field, number = key
        if field == "text":
            return {"index": index, "text": text, "logprobs": None, "finish_reason": None}
        delta: dict[str, Any] = {field: text}
        if field == "arguments":
            delta = {"tool_calls": [{"index": number, "function": {"arguments": text}}]}
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}

    def _stopped(self) -> bytes:
        self.blocked = True
        chat = self._base.get("object") != "text_completion"
        said: dict[str, Any] = {"delta": {}} if chat else {"text": ""}
        indices = sorted({key[0] for key in self._strands}) or [0]
        choices = [{"index": index, **said, "logprobs": None, "finish_reason": "content_filter"} for index in indices]
        return b"data: %b\n\n" % orjson.dumps({**self._base, "choices": choices}) + DONE


class _Notes:
    """Text for guards that only flag: looked at in larger pieces, since nothing waits for it."""

    def __init__(self, strand: Strand) -> None:
        self._strand = strand
        self._parts: list[str] = []
        self._size = 0

    def feed(self, text: str) -> None:
        self._parts.append(text)
        self._size += len(text)
        if self._size >= 1024:
            self._strand.feed("".join(self._parts))
            self._parts, self._size = [], 0

    def end(self) -> None:
        self._strand.feed("".join(self._parts))
        self._parts, self._size = [], 0
        self._strand.end()


def _harmless(event: bytes, chunk: Any) -> bool:
    """True for an event without choices that carries no text of the model: usage, an error, a comment or another field of the protocol."""
    if isinstance(chunk, dict):
        return "choices" in chunk or "error" in chunk
    return chunk is None and b"data:" not in event and all(line[:1] == b":" or _FIELD.match(line) for line in event.splitlines() if line)


def _names_something(delta: Any) -> bool:
    """True when a delta carries more than text: a role, or the beginning of a tool call."""
    if not isinstance(delta, dict):
        return False
    if any(value is not None for field, value in delta.items() if field not in (*SPOKEN, "tool_calls", "function_call")):
        return True
    calls = [*(delta.get("tool_calls") or ()), {"function": delta.get("function_call")}]
    return any(isinstance(c, dict) and ("id" in c or "name" in (c.get("function") or ())) for c in calls)


def _texts(index: int, choice: dict[str, Any]) -> Iterator[tuple[Key, dict[str, Any], str]]:
    """Every text of a chunk's choice: its strand, and where it stands."""
    if isinstance(choice.get("text"), str):
        yield (index, "text", 0), choice, "text"
    delta = choice.get("delta")
    if not isinstance(delta, dict):
        return
    for field in SPOKEN:
        if isinstance(delta.get(field), str):
            yield (index, field, 0), delta, field
    calls = delta.get("tool_calls")
    calls = calls if isinstance(calls, list) else []
    for place, called in [*((c.get("index", 0), c.get("function")) for c in calls if isinstance(c, dict)), (0, delta.get("function_call"))]:
        if isinstance(called, dict) and isinstance(called.get("arguments"), str):
            yield (index, "arguments", place if isinstance(place, int) else 0), called, "arguments"
