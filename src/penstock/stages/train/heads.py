"""The classifier of a base that was trained by us before: its rows for labels that are still there are kept, new labels start afresh."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

LABELS = "labels.json"


def known_labels(base: Path) -> list[str]:
    """Labels of the classifier in a base; empty for one that has none of ours."""
    path = base / LABELS
    return [str(name) for name in json.loads(path.read_text(encoding="utf-8"))] if path.is_file() else []


def carry_over(model: Any, base: Path, before: Sequence[str], labels: Sequence[str]) -> int:
    """Writes the base's rows for labels that both have into the model's head; returns how many labels were carried over.

    A head parameter is one with a row a label, in the base's file and in the model; other labels' rows keep what the model has, unless
    the model took another label's row for theirs: those are drawn anew.
    """
    from safetensors.torch import load_file

    if not before or list(before) == list(labels):
        return 0
    place = {name: n for n, name in enumerate(before)}
    pairs = [(n, place[name]) for n, name in enumerate(labels) if name in place]
    kept = load_file(base / "model.safetensors")
    spread = float(getattr(model.config, "initializer_range", 0.02))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            old = kept.get(name)
            rows = (len(before), len(labels))
            if _is_head(name) and old is not None and (old.shape[0], parameter.shape[0]) == rows and parameter.shape[1:] == old.shape[1:]:
                _carry(parameter, old, pairs, spread)
    return len(pairs)


def _carry(parameter: torch.Tensor, old: torch.Tensor, pairs: Sequence[tuple[int, int]], spread: float) -> None:
    if old.shape == parameter.shape:  # as many labels as before, so rows of others were taken over with the file
        fresh = torch.randn_like(parameter) * spread if parameter.dim() > 1 else torch.zeros_like(parameter)
        parameter.copy_(fresh)
    for new, was in pairs:
        parameter[new] = old[was].to(parameter.dtype)


def _is_head(name: str) -> bool:
    return any(part in ("classifier", "score", "out_proj") for part in name.split("."))
