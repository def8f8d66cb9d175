"""An engine: requests in, chunks out.

An engine batches by itself: callers send single requests concurrently and never wait for each other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol


@dataclass(frozen=True, slots=True)
class ClassifyRequest:
    texts: Sequence[str]
    top_k: int | None = None  # None: all labels


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """`dimensions`: the first so many components, of unit length again (Matryoshka, Kusupati et al. 2022). None: all.

    Exactly one of `texts` and `ids` (token ids of each text, as the model's own tokenizer would give them) is not empty.
    """

    texts: Sequence[str]
    dimensions: int | None = None
    ids: Sequence[Sequence[int]] = ()


@dataclass(frozen=True, slots=True)
class Message:
    """`tool_calls` (of an assistant, as OpenAI's) and `tool_call_id` (role tool: the call it answers) are for chat templates."""

    role: str
    content: str
    tool_calls: Sequence[Mapping[str, Any]] = ()
    tool_call_id: str | None = None


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """What the answer must look like: `value` is a JSON schema (dict), a regular expression or an EBNF grammar; "json": any JSON object."""

    kind: Literal["json", "json_schema", "regex", "grammar"]
    value: Any = None


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """Exactly one of `prompt`, `prompt_ids` and `messages`. Temperature 0 is greedy.

    `n` answers, told apart by Text.index. `logprobs`: how many of the likeliest tokens are told beside each chosen one (0: only the
    chosen one's; None: nothing). `echo`: the prompt's text and logprobs come first, in chunks of their own whose `completion_tokens` is 0.
    `adapter`: the name of a loaded LoRA adapter.
    """

    prompt: str | None = None
    messages: Sequence[Message] = ()
    prompt_ids: Sequence[int] = ()
    max_tokens: int = 128
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int | None = None
    seed: int | None = None
    stop: Sequence[str] = ()
    n: int = 1
    logprobs: int | None = None
    echo: bool = False
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    output: OutputFormat | None = None
    adapter: str | None = None
    tools: Sequence[Mapping[str, Any]] = ()  # as OpenAI's `tools`, for the model's own chat template


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
class TokenLogprob:
    """One token of an answer: natural logarithms of probabilities. `top`: the likeliest (token text, logprob), best first.

    `logprob` None: the first token of a prompt, which nothing predicts.
    """

    token: str
    logprob: float | None
    top: Sequence[tuple[str, float]] = ()


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of generated text; the last one of each answer has `finish_reason` ("stop" or "length").

    Counts are of all answers of the request so far. `cached_tokens`: of the prompt, found in the prefix cache.
    """

    text: str
    finish_reason: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    index: int = 0
    logprobs: Sequence[TokenLogprob] = ()
    cached_tokens: int = 0


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


class Adapting(Protocol):
    """An engine that serves LoRA adapters on one base. Both are idempotent; requests that run keep what they began with."""

    async def load_adapter(self, name: str, folder: Path) -> None:
        """PEFT's files in `folder` (adapter_config.json, adapter_model.safetensors). Raises BadInput for one that does not fit the base."""
        ...

    async def unload_adapter(self, name: str) -> None: ...

    @property
    def adapters(self) -> Sequence[str]: ...


class Forwarding(Protocol):
    """An engine that has an OpenAI-compatible server behind it: bodies go through as they are, but for the model's name."""

    def forward(self, path: str, body: Mapping[str, Any]) -> AsyncIterator[bytes]:
        """The bytes of the answer to a POST of `body` to `path` ("/v1/chat/completions"): one JSON object, or server-sent events when
        the body says `stream`. Raises UpstreamRefused (status and message of the server) before the first byte.
        """
        ...
