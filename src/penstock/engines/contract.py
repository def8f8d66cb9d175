"""An engine: requests in, chunks out.

An engine batches by itself: callers send single requests concurrently and never wait for each other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class ClassifyRequest:
    texts: Sequence[str]
    top_k: int | None = None  # None: all labels


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    texts: Sequence[str]


@dataclass(frozen=True, slots=True)
class Message:
    role: str
    content: str


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """Exactly one of `prompt` and `messages`. Temperature 0 is greedy."""

    prompt: str | None = None
    messages: Sequence[Message] = ()
    max_tokens: int = 128
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int | None = None
    seed: int | None = None
    stop: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """Negative log likelihood of `text` under the model, in windows of its context."""

    text: str


Request = ClassifyRequest | EmbedRequest | GenerateRequest | ScoreRequest


@dataclass(frozen=True, slots=True)
class Classified:
    """For each text its (label, probability) pairs, best first; tokens read in all."""

    rows: Sequence[Sequence[tuple[str, float]]]
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class Embedded:
    """For each text a vector of unit length."""

    vectors: Sequence[Sequence[float]]
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of generated text; the last one has `finish_reason` ("stop" or "length") and the counts."""

    text: str
    finish_reason: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Scored:
    """Sum of -ln p over `tokens` predicted tokens; `characters` of text that those tokens stand for."""

    nats: float
    tokens: int
    characters: int


Chunk = Classified | Embedded | Text | Scored


@dataclass(frozen=True, slots=True)
class EngineInfo:
    engine: str
    task: str
    digest: str | None  # of the bundle
    precision: str
    max_length: int  # tokens
    labels: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


class Engine(Protocol):
    """Closing cancels what runs. `generate` raises BadInput for a request that the model cannot serve."""

    info: EngineInfo

    def generate(self, request: Request) -> AsyncIterator[Chunk]:
        """Chunks as they come; leaving the iterator early cancels the work within one step."""
        ...

    def metrics(self) -> Mapping[str, float]:
        """Gauges and counters: queue length, batch sizes, tokens, memory."""
        ...

    async def close(self) -> None: ...
