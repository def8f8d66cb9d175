"""An OpenVINO graph of a bundle, compiled for the CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from penstock.core.errors import ArtifactCorrupt, BadInput

GRAPH = "openvino_model.xml"


def compile_graph(folder: Path, hints: Mapping[str, str], change: Callable[[Any], Any] | None = None, graph: str = GRAPH) -> Any:
    """The `graph` of `folder`, after `change`, compiled for the CPU. Raises ArtifactCorrupt when OpenVINO cannot read it."""
    import openvino

    try:
        core = openvino.Core()
        model = core.read_model(folder / graph)
        return core.compile_model(change(model) if change else model, "CPU", dict(hints))
    except RuntimeError as error:
        raise ArtifactCorrupt(f"OpenVINO cannot load the graph in {folder}: {str(error).strip().splitlines()[-1]}") from error


def precision_hint(precision: str) -> dict[str, str]:
    """OpenVINO's property for a setting of `inference_precision`. Raises BadInput for an unknown one."""
    if precision not in ("f32", "bf16", "auto"):
        raise BadInput(f"inference_precision is {precision!r}; it must be f32, bf16 or auto")
    return {} if precision == "auto" else {"INFERENCE_PRECISION_HINT": precision}
