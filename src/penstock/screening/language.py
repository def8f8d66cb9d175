"""Which language a text is in, by the model of py3langid: naive Bayes over byte n-grams that an automaton finds (Lui & Baldwin 2012).

The automaton walks over many texts at once, a byte of each in a step, so that a batch costs some twenty microseconds a text.
Only the first CUT bytes are looked at. Not covered: texts in several languages (the one with most of it is told), and what is no language.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Any

CUT = 320  # bytes of a text that are looked at
UNKNOWN = "und"  # ISO 639's code for undetermined
_AT_ONCE = 1024


def languages(texts: Sequence[str]) -> list[str]:
    """The ISO 639-1 code of each text; `und` where nothing tells. Raises ExtraMissing without py3langid."""
    model, found = _model(), [UNKNOWN] * len(texts)
    data = [_bytes(text) for text in texts]
    order = sorted(range(len(data)), key=lambda at: -len(data[at]))
    for start in range(0, len(order), _AT_ONCE):
        part = order[start : start + _AT_ONCE]
        for at, code in zip(part, model.tell([data[at] for at in part]), strict=True):
            found[at] = code
    return found


def _bytes(text: str) -> bytes:
    """As the model was trained: composed, and capitals only where not all are."""
    text = text[:CUT]
    return unicodedata.normalize("NFC", text.lower() if text.isupper() else text).encode(errors="replace")[:CUT]


@cache
def _model() -> _Model:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ModuleNotFoundError as error:
        from penstock.core.errors import ExtraMissing

        raise ExtraMissing("telling languages needs py3langid", remedy="Run: pip install 'penstock[monitor]'") from error
    return _Model(LanguageIdentifier.from_model_file(MODEL_FILE))


class _Model:
    """The tables of py3langid's identifier as arrays."""

    def __init__(self, identifier: Any) -> None:
        import numpy as np

        self._next = np.asarray(identifier.tk_nextmove)  # (rows * 256,): the state after a byte
        self._row = np.asarray(identifier.tk_row, np.int64) << 8  # by state, where its row of `_next` begins
        self._feature = np.asarray(identifier.tk_output, np.int32)  # by state, -1 for none
        self._weights = np.asarray(identifier.nb_ptc, np.float32)  # (features, languages); as the float16 of the file half as fast
        self._prior = np.asarray(identifier.nb_pc, np.float32)
        self._names = list(identifier.nb_classes)

    def tell(self, texts: Sequence[bytes]) -> list[str]:
        """`texts` longest first."""
        import numpy as np

        text, feature = self._visits(texts)
        if not len(text):
            return [UNKNOWN] * len(texts)
        size = len(self._weights)
        code, times = np.unique(text * size + feature, return_counts=True)
        said, starts = np.unique(code // size, return_index=True)
        feature, much = code % size, np.log1p(times, dtype=np.float32)
        found = [UNKNOWN] * len(texts)
        for at, begin, end in zip(said.tolist(), starts.tolist(), [*starts[1:].tolist(), len(code)], strict=True):
            scores = much[begin:end] @ self._weights[feature[begin:end]] + self._prior
            found[at] = self._names[int(scores.argmax())]
        return found

    def _visits(self, texts: Sequence[bytes]) -> tuple[Any, Any]:
        """(text, feature) of every place where the automaton finds one."""
        import numpy as np

        sizes = np.array([len(text) for text in texts])
        longest = int(sizes[0]) if len(sizes) else 0
        table = np.zeros((len(texts), longest), np.uint8)
        for row, text in enumerate(texts):
            table[row, : len(text)] = np.frombuffer(text, np.uint8)
        steps = np.ascontiguousarray(table.T)
        active = np.searchsorted(-sizes, -np.arange(longest), "left")  # texts longer than each step
        state = np.zeros(len(texts), np.int64)
        rows, features = [], []
        for step, count in enumerate(active.tolist()):
            state[:count] = self._next[self._row[state[:count]] + steps[step, :count]]
            found = self._feature[state[:count]]
            at = np.flatnonzero(found >= 0)
            rows.append(at)
            features.append(found[at])
        empty = np.zeros(0, np.int64)
        return np.concatenate([empty, *rows]), np.concatenate([empty, *features]).astype(np.int64)
