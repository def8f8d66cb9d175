"""The reference of the file names every key, and its example is a pipeline."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from penstock.spec import deploy, monitor, pipeline, react, strategy
from penstock.spec.load import loads
from penstock.spec.platforms import sagemaker, vertex

TEXT = (Path(__file__).parents[2] / "docs" / "reference" / "file.md").read_text(encoding="utf-8")
RECORDS = [
    kind
    for module in (pipeline, deploy, monitor, react, strategy, sagemaker, vertex)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, BaseModel) and kind.__module__ == module.__name__
]
KEYS = sorted({field.alias or name for record in RECORDS for name, field in record.model_fields.items()})


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_named(key: str) -> None:
    assert re.search(rf"`[^`]*\b{key}\b[^`]*`", TEXT), key


def test_the_example_loads() -> None:
    example = re.search(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    assert example is not None
    loaded = loads(example[1].encode(), file=Path("penstock.yaml"), environ={})
    assert loaded.pipeline.name == "support-intents"
