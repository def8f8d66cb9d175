"""One answer of a request on its way to its caller: tokens in, pieces of text with their log-probabilities out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from penstock.engines.contract import GenerateRequest, TokenLogprob
from penstock.engines.text_stream import TextStream
from penstock.engines.token_scores import TokenScore
from penstock.engines.wording import Wording


@dataclass(frozen=True, slots=True)
class Piece:
    """What a caller may see now; `finish_reason` in the last."""

    text: str
    finish_reason: str | None = None
    logprobs: Sequence[TokenLogprob] = ()


class Answer:
    """Text and tokens so far. `done` once it ended, by itself or by a stop string.

    A token's log-probability comes with the piece in which its text begins; those of a stop string never come.
    """

    def __init__(self, wording: Wording, request: GenerateRequest) -> None:
        self.ids: list[int] = []
        self.text = ""
        self.reason: str | None = None
        self.done = False
        self._wording = wording
        self._stream = TextStream(wording.decode, request.stop)
        self._begun = 0  # characters before the first pending token
        self._pending: list[TokenLogprob] = []

    def feed(self, ids: Sequence[int], finish_reason: str | None, scores: Sequence[TokenScore] = ()) -> Piece | None:
        """The next piece, when there is one to show; `finish_reason` says that no token follows."""
        self.ids += ids
        text = self._stream.feed(ids)
        if self._stream.stopped or finish_reason:
            self.done = True
            text += "" if self._stream.stopped else self._stream.finish()
        self.reason = "stop" if self._stream.stopped else finish_reason
        if scores:
            self._pending += self.told(ids, scores)
        self.text += text
        return Piece(text, self.reason, self._ready() if self._pending else ()) if text or self.done else None

    def told(self, ids: Sequence[int], scores: Sequence[TokenScore]) -> list[TokenLogprob]:
        """`scores` with the tokens' texts; none when there are no scores."""
        name = self._wording.token_text
        return [
            TokenLogprob(name(one), score.logprob, [(name(other), value) for other, value in score.top])
            for one, score in zip(ids, scores, strict=False)
        ]

    def kept(self, scores: Sequence[TokenScore]) -> list[TokenLogprob]:
        """`scores` of all `ids` of an answer that is done, without those of a stop string."""
        told = self.told(self.ids, scores)
        return told[: _within(told, len(self.text))] if self._stream.stopped else told

    def _ready(self) -> list[TokenLogprob]:
        size = len(self._pending)
        if self._stream.stopped or not self.done:
            size = _within(self._pending, len(self.text) - self._begun)
        ready, self._pending = self._pending[:size], self._pending[size:]
        self._begun += sum(len(token.token) for token in ready)
        return ready


def _within(tokens: Sequence[TokenLogprob], characters: int) -> int:
    """How many of `tokens` belong to a text of so many characters: those whose own text begins in it."""
    begun = 0
    for at, token in enumerate(tokens):
        if begun >= characters:
            return at
        begun += len(token.token)
    return len(tokens)
