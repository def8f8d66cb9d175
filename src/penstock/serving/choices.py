"""Generated text in OpenAI's two shapes: completions and chat, whole and in pieces, with the log probabilities of tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from penstock.engines.contract import Text, TokenLogprob

LEAST = -9999.0  # stands for log 0, which JSON cannot hold
_BYTE = re.compile("<0x([0-9A-F]{2})>")


@dataclass(slots=True)
class Choice:
    """One answer so far. `offset`: characters of the tokens whose log probabilities were shown."""

    index: int
    parts: list[str] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish_reason: str | None = None
    offset: int = 0

    def add(self, chunk: Text) -> None:
        self.parts.append(chunk.text)
        self.logprobs.extend(chunk.logprobs)
        self.finish_reason = chunk.finish_reason


class Shape(Protocol):
    """`object` and `chunk_object` name what is sent; `logprobs` is how many of the likeliest tokens to tell, or None."""

    object: str
    chunk_object: str

    def whole(self, choice: Choice) -> dict[str, Any]: ...

    def piece(self, choice: Choice, chunk: Text) -> dict[str, Any]: ...

    def first(self, index: int) -> dict[str, Any] | None:
        """What a stream says of a choice before its text."""
        ...


class CompletionShape:
    object = chunk_object = "text_completion"

    def __init__(self, logprobs: int | None) -> None:
        self.top = logprobs

    def whole(self, choice: Choice) -> dict[str, Any]:
        return self._choice(choice, "".join(choice.parts), choice.finish_reason or "stop", choice.logprobs)

    def piece(self, choice: Choice, chunk: Text) -> dict[str, Any]:
        return self._choice(choice, chunk.text, chunk.finish_reason, chunk.logprobs)

    def first(self, index: int) -> dict[str, Any] | None:  # noqa: ARG002 - of the other shape
        return None

    def _choice(self, choice: Choice, text: str, reason: str | None, given: Sequence[TokenLogprob]) -> dict[str, Any]:
        logprobs = None if self.top is None else self._logprobs(choice, given)
        return {"index": choice.index, "text": text, "finish_reason": reason, "logprobs": logprobs}

    def _logprobs(self, choice: Choice, given: Sequence[TokenLogprob]) -> dict[str, Any]:
        """`text_offset` counts characters of this choice's text, an echoed prompt included."""
        offsets = []
        for one in given:
            offsets.append(choice.offset)
            choice.offset += len(one.token)
        return {
            "tokens": [one.token for one in given],
            "token_logprobs": [None if one.logprob is None else finite(one.logprob) for one in given],
            "top_logprobs": [_table(one) for one in given] if self.top else None,
            "text_offset": offsets,
        }


class ChatShape:
    object, chunk_object = "chat.completion", "chat.completion.chunk"

    def __init__(self, logprobs: int | None) -> None:
        self.top = logprobs

    def whole(self, choice: Choice) -> dict[str, Any]:
        message = {"role": "assistant", "content": "".join(choice.parts), "refusal": None}
        logprobs = self._logprobs(choice.logprobs)
        return {"index": choice.index, "message": message, "finish_reason": choice.finish_reason or "stop", "logprobs": logprobs}

    def piece(self, choice: Choice, chunk: Text) -> dict[str, Any]:
        delta = {"content": chunk.text} if chunk.text else {}
        return {"index": choice.index, "delta": delta, "finish_reason": chunk.finish_reason, "logprobs": self._logprobs(chunk.logprobs)}

    def first(self, index: int) -> dict[str, Any] | None:
        return {"index": index, "delta": {"role": "assistant", "content": ""}, "finish_reason": None, "logprobs": None}

    def _logprobs(self, given: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        if self.top is None:
            return None
        content = [{**_token(t.token, t.logprob or 0.0), "top_logprobs": [_token(*top) for top in t.top[: self.top]]} for t in given]
        return {"content": content, "refusal": None}


def finite(logprob: float) -> float:
    return max(logprob, LEAST)


def usage(prompt: int, completion: int | None, cached: int | None = None) -> dict[str, Any]:
    """OpenAI's `usage`; `completion` None for routes that write nothing."""
    if completion is None:
        return {"prompt_tokens": prompt, "total_tokens": prompt}
    found: dict[str, Any] = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return found if cached is None else {**found, "prompt_tokens_details": {"cached_tokens": cached}}


def _table(one: TokenLogprob) -> dict[str, float] | None:
    """The likeliest tokens with the chosen one among them; of tokens that read alike the likeliest stays."""
    if one.logprob is None:
        return None
    found: dict[str, float] = {}
    for token, logprob in (*one.top, (one.token, one.logprob)):
        found.setdefault(token, finite(logprob))
    return found


def _token(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": finite(logprob), "bytes": _bytes(token)}


def _bytes(token: str) -> list[int] | None:
    """Bytes of a token where its text tells them: a part of a character is named by other characters, or as `<0xE2>`."""
    if (part := _BYTE.fullmatch(token)) is not None:
        return [int(part[1], 16)]
    return list(token.encode()) if token.isascii() else None
