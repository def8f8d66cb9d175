"""Tokens as they come, text as it may be shown: whole characters only, and nothing of a stop string."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

BROKEN = "\ufffd"  # what a decoder writes for bytes that are no character (yet)


@dataclass(slots=True)
class TextStream:
    """Text of the tokens fed so far. `stopped` is true once a stop string was met; what came after it is dropped."""

    decode: Callable[[Sequence[int]], str]
    stop: Sequence[str] = ()
    stopped: bool = False
    _ids: list[int] = field(default_factory=list)
    _shown: int = 0  # tokens whose text was taken
    _context: int = 0  # tokens before this one are not decoded again
    _held: str = ""  # text that may be the start of a stop string

    def feed(self, ids: Sequence[int]) -> str:
        """New text; empty while a character or a stop string may be half there."""
        self._ids.extend(ids)
        before = self.decode(self._ids[self._context : self._shown])
        now = self.decode(self._ids[self._context :])
        if len(now) <= len(before) or now.endswith(BROKEN):
            return ""
        self._context, self._shown = self._shown, len(self._ids)
        return self._past_stops(now[len(before) :])

    def finish(self) -> str:
        """What was held back; a character that stayed half is dropped."""
        before = self.decode(self._ids[self._context : self._shown])
        now = self.decode(self._ids[self._context :])
        self._shown = len(self._ids)
        rest = self._past_stops(now[len(before) :].rstrip(BROKEN))
        if self.stopped:
            return rest
        rest, self._held = rest + self._held, ""
        return rest

    def _past_stops(self, text: str) -> str:
        if self.stopped:
            return ""
        if not self.stop:
            return text
        text, self._held = self._held + text, ""
        found = [at for at in (text.find(stop) for stop in self.stop) if at >= 0]
        if found:
            self.stopped = True
            return text[: min(found)]
        keep = max((_overlap(text, stop) for stop in self.stop), default=0)
        if keep:
            text, self._held = text[:-keep], text[-keep:]
        return text


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
