"""Texts as padded token batches for an encoder, by the model's own fast tokenizer (Rust)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.core.errors import ArtifactCorrupt, ArtifactMissing, BadInput

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class Encoded:
    """`ids` of one text, cut to the model's length; `cut` says whether anything was lost."""

    ids: Sequence[int]
    cut: bool


@dataclass(frozen=True, slots=True)
class Encoder:
    """Tokenizer of a model folder. Thread-safe."""

    tokenizer: Any  # tokenizers.Tokenizer
    max_length: int  # tokens, special ones included
    pad: int

    @classmethod
    def read(cls, folder: Path, max_length: int) -> Encoder:
        """Reads tokenizer.json and config.json. Raises ArtifactMissing or ArtifactCorrupt."""
        from tokenizers import Tokenizer

        for name in ("tokenizer.json", "config.json"):
            if not (folder / name).is_file():
                raise ArtifactMissing(f"{folder} holds no {name}")
        try:
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            pad = json.loads((folder / "config.json").read_bytes()).get("pad_token_id")
        except Exception as error:  # the tokenizers library raises bare Exception
            raise ArtifactCorrupt(f"the tokenizer or configuration in {folder} does not read ({error})") from error
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length)
        return cls(tokenizer, max_length, 0 if pad is None else int(pad))

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Token ids of each text with the model's special tokens."""
        found = self.tokenizer.encode_batch_fast(list(texts)) if len(texts) > 1 else [self.tokenizer.encode(texts[0])]
        return [Encoded(one.ids, bool(one.overflowing)) for one in found]

    def encode_any(self, texts: Sequence[str | Sequence[int]]) -> list[Encoded]:
        """As `encode`, where some texts may be token ids already; those are only cut."""
        plain = [text for text in texts if isinstance(text, str)]
        found = iter(self.encode(plain) if plain else ())
        return [next(found) if isinstance(text, str) else Encoded(text[: self.max_length], len(text) > self.max_length) for text in texts]

    def check_ids(self, rows: Sequence[Sequence[int]]) -> None:
        """Raises BadInput for no tokens, or one that the vocabulary does not have."""
        size = self.tokenizer.get_vocab_size()
        for at, ids in enumerate(rows):
            if not ids:
                raise BadInput(f"text {at} has no token ids")
            wrong = next((one for one in ids if not 0 <= one < size), None)
            if wrong is not None:
                raise BadInput(f"text {at} holds token id {wrong}; this model's vocabulary has {size}")

    def pad_rows(self, rows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        """Ids and attention mask, both (rows, longest) int64."""
        import numpy as np

        longest = max(map(len, rows))
        ids = np.full((len(rows), longest), self.pad, np.int64)
        mask = np.zeros((len(rows), longest), np.int64)
        for at, row in enumerate(rows):
            ids[at, : len(row)] = row
            mask[at, : len(row)] = 1
        return ids, mask


def by_length(lengths: Sequence[int], max_batch: int, waste: float = 0.25) -> list[list[int]]:
    """Indices in groups of like length, shortest first: at most `max_batch` to a group, and at most `waste` of it padding.

    A group of fewer than 4 may waste more: another inference would cost more than the padding.
    """
    groups: list[list[int]] = []
    total = 0
    for index in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        length = lengths[index]
        if groups and len(groups[-1]) < max_batch:
            size = len(groups[-1]) + 1
            if size <= 4 or 1 - (total + length) / (size * length) <= waste:
                groups[-1].append(index)
                total += length
                continue
        groups.append([index])
        total = length
    return groups
