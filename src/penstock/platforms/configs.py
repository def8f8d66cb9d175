"""Which type validates the config of which stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.core.errors import BadInput, FileProblems, Problem

_TYPES = {
    "data": "DataConfig",
    "train": "TrainConfig",
    "optimize": "OptimizeConfig",
    "bundle": "BundleConfig",
    "evaluate": "EvaluateConfig",
    "embedder": "EmbedderConfig",
    "reference": "ReferenceConfig",
    "predict": "PredictConfig",
    "user": "UserConfig",
}


def validated(stage: str, config: Mapping[str, Any]) -> Any:
    """The typed, frozen config of a stage; a stage from outside the table gets its mapping. Raises FileProblems with each wrong field."""
    from pydantic import ValidationError

    from penstock.spec import steps

    if stage not in _TYPES:
        return config
    try:
        return getattr(steps, _TYPES[stage]).model_validate(config)
    except ValidationError as error:
        problems = [Problem(".".join(map(str, e["loc"])), e["msg"]) for e in error.errors(include_url=False)]
        raise FileProblems(problems, f"config of {stage}") from error


def stage_named(name: str) -> Any:
    """Raises BadInput for an unknown stage, ExtraMissing when its libraries are absent."""
    from penstock.stages.table import STAGES

    try:
        return STAGES.load(name)()
    except AttributeError as error:
        raise BadInput(f"stage {name!r} is declared but has no class: {error}") from error
