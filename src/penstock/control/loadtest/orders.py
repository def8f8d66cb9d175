"""What is asked: request bodies for one model and route, from texts of one's own or made to a length in tokens."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from penstock.core.errors import BadInput

ROUTES = {
    "classify": "/v1/classify",
    "embeddings": "/v1/embeddings",
    "completions": "/v1/completions",
    "chat": "/v1/chat/completions",
}
OF_TASK = {"text-classification": "classify", "embedding": "embeddings"}
WORDS_A_TOKEN = 0.75  # English text under common tokenizers; used where the model's own tokenizer is not at hand
_WORDS = """
the of and to in a is that for it as was with be by on not this have from or had an they which one you were all there would their been
has when who will more no if out so said what up about into than them can only other new some time could these two may then do first any
my now such like our over me even most card payment transfer account balance charge refund exchange rate currency bank money limit
"""


@dataclass(frozen=True, slots=True)
class Order:
    """One request to make: `body` is JSON. `prompt_tokens`: how many were meant (0: not known)."""

    path: str
    body: bytes
    stream: bool
    prompt_tokens: int = 0
    max_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Asking:
    """How orders are made. `extra` is put into each body as it is."""

    model: str
    route: str
    stream: bool
    max_tokens: int
    extra: tuple[tuple[str, Any], ...] = ()

    def order(self, text: str, max_tokens: int | None = None, prompt_tokens: int = 0) -> Order:
        """Raises BadInput for a route that does not exist."""
        if self.route not in ROUTES:
            raise BadInput(f"no route is called {self.route!r} (there are: {', '.join(ROUTES)})")
        body: dict[str, Any] = {"model": self.model, **dict(self.extra)}
        if self.route in ("classify", "embeddings"):
            return Order(ROUTES[self.route], orjson.dumps({**body, "input": text}), False, prompt_tokens)
        wanted = max_tokens or self.max_tokens
        said = {"prompt": text} if self.route == "completions" else {"messages": [{"role": "user", "content": text}]}
        body |= {**said, "max_tokens": wanted, "temperature": body.get("temperature", 0)}
        if self.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return Order(ROUTES[self.route], orjson.dumps(body), self.stream, prompt_tokens, wanted)


Count = Callable[[str], int]


class Writer:
    """Texts of a wanted length in tokens: words in random order, so that no prefix cache helps more than real texts would let it.

    `count` counts a text's tokens. It is asked once a word: tokenizers split at spaces first, so the tokens of words add up.
    Without it, WORDS_A_TOKEN words stand for a token.
    """

    def __init__(self, seed: int, count: Count | None = None, words: Sequence[str] | None = None) -> None:
        words = _WORDS.split() if words is None else words
        self._rng, self._words = random.Random(seed), words
        self._frame = count("") if count is not None else 0  # tokens that begin and end every text
        alone = count("the") if count is not None else 0
        # A text's first word has no space before it, and may take more tokens for that.
        self._first = max(count(word) - self._frame - count(f"the {word}") + alone for word in words) if count is not None else 0
        self._costs = [max(1, count(f"the {word}") - alone) if count is not None else 1 / WORDS_A_TOKEN for word in words]

    def text(self, tokens: int) -> str:
        """So many tokens or slightly fewer; at least one word."""
        left: float = tokens - self._frame - self._first
        said: list[str] = []
        while not said or left > 0:
            at = self._rng.randrange(len(self._words))
            left -= self._costs[at]
            if left < 0 and said:
                break
            said.append(self._words[at])
        return " ".join(said)


def made(asking: Asking, writer: Writer, tokens: int, distinct: int = 256) -> Iterator[Order]:
    """Orders of `tokens` prompt tokens for ever: `distinct` different ones, round and round."""
    orders = [asking.order(writer.text(tokens), prompt_tokens=tokens) for _ in range(distinct)]
    while True:
        yield from orders


def given(asking: Asking, texts: Sequence[str]) -> Iterator[Order]:
    """Orders of one's own texts, round and round. Raises BadInput when there is none."""
    orders = [asking.order(text) for text in texts]
    if not orders:
        raise BadInput("the file of prompts holds none")
    while True:
        yield from orders


def read_prompts(path: Path, column: str | None = None, most: int = 100_000) -> list[str]:
    """Texts of a JSONL, CSV or plain text file (one a line): the column named, else `text`, `prompt` or `input`.

    Raises BadInput with the columns that there are.
    """
    from penstock.serving.batch.rows import columns_of, read_rows

    if path.suffix.lower() in (".txt", ".text"):
        return [line for line in path.read_text("utf-8").splitlines() if line.strip()][:most]
    names = columns_of(path)
    chosen = column or next((name for name in ("text", "prompt", "input") if name in names), None)
    if chosen is None or chosen not in names:
        wanted = repr(column) if column else "'text', 'prompt' or 'input'"
        raise BadInput(f"{path} has no column {wanted} (it has: {', '.join(names)})", remedy="Name it with --column.")
    found = []
    for row in read_rows(path):
        value = row.values.get(chosen)
        if isinstance(value, str) and value.strip():
            found.append(value)
        if len(found) == most:
            break
    return found
