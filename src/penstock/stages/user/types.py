"""Types by which a user's function says what its parameters and its result are.

A parameter annotated `Folder` is given the folder of an input artifact; one annotated `Output` is given an empty folder
that becomes the artifact of the parameter's name; one annotated `Context` can log, draw curves and keep checkpoints.
A result annotated `Metrics` becomes the metrics of the step. All but `Context` are what they look like at run time
(`pathlib.Path`, `dict`), so that the function can be called by hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import NewType

from penstock.stages.contract import Context

Folder = NewType("Folder", Path)
Output = NewType("Output", Path)
Metrics = NewType("Metrics", dict[str, float])

__all__ = ["Context", "Folder", "Metrics", "Output"]
