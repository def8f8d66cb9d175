"""Checkpoints that survive any kill: written beside, synced, renamed; the two newest are kept; one that does not verify is passed over.

One checkpoint is one folder `step-<n>`: `state.safetensors` (weights, optimizer, best weights, generators) and `state.json`,
which names the digest of the first and is what makes the folder count.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from penstock.core.digests import digest_file
from penstock.core.files import told_plainly, write_atomic

KEPT = 2


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`facts` are JSON values (step, position, curve …); `settings` is the digest of what was being trained."""

    tensors: Mapping[str, torch.Tensor]
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """Folder of checkpoints of one training; those of other settings are ignored."""

    folder: Path
    settings: str
    log: Callable[[str], None]

    def save(self, step: int, checkpoint: Checkpoint) -> None:
        """Raises DiskFull or ReadOnly; what was saved before stays."""
        final, beside = self.folder / f"step-{step:08d}", self.folder / f".step-{step:08d}.part"
        with told_plainly(final):
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir(parents=True)
            try:
                save_file({k: v.detach().cpu().contiguous() for k, v in checkpoint.tensors.items()}, beside / "state.safetensors")
                with open(beside / "state.safetensors", "rb") as file:
                    os.fsync(file.fileno())
                digest = digest_file(beside / "state.safetensors")
                facts = {"settings": self.settings, "digest": digest, "facts": dict(checkpoint.facts)}
                write_atomic(beside / "state.json", json.dumps(facts).encode())
                shutil.rmtree(final, ignore_errors=True)
                os.replace(beside, final)
            except BaseException:
                shutil.rmtree(beside, ignore_errors=True)
                raise
        for old in self._folders()[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)

    def newest(self) -> Checkpoint | None:
        """The newest that verifies; those that do not are named in the log and removed."""
        for leftover in self.folder.glob(".step-*.part"):
            shutil.rmtree(leftover, ignore_errors=True)
        for folder in reversed(self._folders()):
            try:
                found = json.loads((folder / "state.json").read_bytes())
                if found["settings"] != self.settings:
                    self.log(f"checkpoint {folder.name} belongs to other settings; passed over")
                    continue
                if digest_file(folder / "state.safetensors") != found["digest"]:
                    raise ValueError("its bytes do not match their digest")
                return Checkpoint(load_file(folder / "state.safetensors"), found["facts"])
            except (OSError, ValueError, KeyError) as error:
                self.log(f"checkpoint {folder.name} cannot be used ({error}); going back to the one before")
                shutil.rmtree(folder, ignore_errors=True)
        return None

    def _folders(self) -> list[Path]:
        """Oldest first."""
        return sorted(self.folder.glob("step-*"))
