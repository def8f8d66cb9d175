"""Whatever a file holds, loading gives a Pipeline or FileProblems, and a Pipeline always comes back from its own dump."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from penstock.core.digests import canonical
from penstock.core.errors import FileProblems
from penstock.spec.load import loads
from penstock.spec.pipeline import Pipeline, dump

FILE = Path(__file__).parent / "penstock.yaml"

SECTIONS = "name task data sources uri dataset text label clean normalize dedup exact length minimum split validation train base"
DETAILS = "method full lora rank pretrain hidden heads epochs early_stopping metric optimize quantize int8 evaluate metrics gates"
STEPS = "deploy to laptop scale min max steps uses with inputs after options timeout retry resources memory platforms kind local"
ODDITIES = (
    "text-classification text-generation minilm json:loads on << ${env:HOME} ${env:NOPE} ${secret:KEY} ${oops 5% 30m 2GiB accuracy>=0.9"
)
WORDS = st.sampled_from(f"{SECTIONS} {DETAILS} {STEPS} {ODDITIES}".split())
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | WORDS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=4), max_leaves=12
)


def outcome(data: bytes, overrides: tuple[str, ...] = ()) -> Pipeline | list[str]:
    refusal = None
    try:
        pipeline = loads(data, file=FILE, overrides=overrides, environ={"HOME": "x"}).pipeline
    except FileProblems as error:
        refusal = error
    if refusal is not None:
        assert refusal.problems
        assert all(p.reason and p.line >= 0 and p.column >= 0 for p in refusal.problems)
        assert str(refusal)
        return [p.reason for p in refusal.problems]
    assert Pipeline.model_validate(dump(pipeline)) == pipeline
    canonical(dump(pipeline))
    return pipeline


def yaml_of(value: Any) -> bytes:
    out = io.BytesIO()
    YAML(typ="safe", pure=True).dump(value, out)
    return out.getvalue()


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_any_bytes(data: bytes) -> None:
    outcome(data)


@given(st.text(alphabet=st.sampled_from("ab:-?[]{},&*!|>'\"%@`#\n\t ~<=\\0.9e"), max_size=60))
@settings(deadline=None)
def test_any_text_of_yaml_signs(text: str) -> None:
    outcome(text.encode())


@given(st.dictionaries(WORDS, VALUES, max_size=6))
@settings(max_examples=100, deadline=None)
def test_any_map_of_known_words(value: dict[str, Any]) -> None:
    outcome(yaml_of(value))


GOOD: dict[str, Any] = {
    "name": "a",
    "task": "text-classification",
    "data": {"sources": [{"dataset": "d"}], "clean": ["normalize"], "split": {"validation": 0.1}},
    "train": {"base": "minilm", "method": {"lora": {"rank": 8}}, "epochs": 3},
    "gates": ["accuracy >= 0.9"],
    "steps": [{"name": "s", "uses": "json:loads", "with": {"s": "1"}}],
    "deploy": {"to": "laptop", "scale": {"min": 1}},
}


@st.composite
def one_place_changed(draw: st.DrawFn) -> dict[str, Any]:
    """GOOD with one value, anywhere, replaced by another."""
    import copy

    root: Any = copy.deepcopy(GOOD)
    node: Any = root
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = draw(st.sampled_from(keys))
        inner = node[key]
        if not isinstance(inner, (dict, list)) or not inner or draw(st.booleans()):
            node[key] = draw(VALUES)
            return root
        node = inner


def test_the_file_that_is_changed_is_good() -> None:
    assert isinstance(outcome(yaml_of(GOOD)), Pipeline)


@given(one_place_changed())
@settings(max_examples=100, deadline=None)
def test_one_wrong_value_anywhere(value: dict[str, Any]) -> None:
    outcome(yaml_of(value))


@given(st.lists(WORDS | st.integers(0, 3).map(str), min_size=1, max_size=4).map(".".join), SCALARS.map(str))
@settings(max_examples=100, deadline=None)
def test_any_override(path: str, value: str) -> None:
    outcome(yaml_of(GOOD), (f"{path}={value}",))


@given(st.text(max_size=20))
@settings(deadline=None)
def test_any_override_text(text: str) -> None:
    outcome(yaml_of(GOOD), (text,))
