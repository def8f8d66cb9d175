"""`--set path.to.key=value`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.core.errors import Problem
from penstock.spec.load import load
from penstock.spec.overrides import apply

Find = Callable[..., list[Problem]]


@pytest.mark.parametrize(
    ("before", "text", "after"),
    [
        ({"train": {"epochs": 8}}, "train.epochs=3", {"train": {"epochs": 3}}),
        ({}, "train.epochs=3", {"train": {"epochs": 3}}),
        ({"train": None}, "train.epochs=3", {"train": {"epochs": 3}}),
        ({"a": 1}, "a=true", {"a": True}),
        ({"a": 1}, "a=[1, x]", {"a": [1, "x"]}),
        ({"a": 1}, "a={b: {c: 2}}", {"a": {"b": {"c": 2}}}),
        ({"a": 1}, "a=", {"a": None}),
        ({"a": 1}, "a='3'", {"a": "3"}),
        ({"a": 1}, "a=x=y", {"a": "x=y"}),
        ({"a": 1}, "gate=accuracy >= 0.9", {"a": 1, "gate": "accuracy >= 0.9"}),
        ({"a": [{"b": 1}, {"b": 2}]}, "a.1.b=3", {"a": [{"b": 1}, {"b": 3}]}),
        ({"a": [{"b": 1}]}, "a[0].b=3", {"a": [{"b": 3}]}),
        ({"a": [1]}, "a.1=2", {"a": [1, 2]}),
        ({"a": [1]}, "a[1].c=2", {"a": [1, {"c": 2}]}),
        ({"steps": [{"name": "x", "with": {}}]}, "steps.x.with.k=2", {"steps": [{"name": "x", "with": {"k": 2}}]}),
        ({"train": {"method": "lora"}}, "train.method.lora.rank=4", {"train": {"method": {"lora": {"rank": 4}}}}),
        ({"train": {"method": "full"}}, "train.method.lora.rank=4", {"train": {"method": {"lora": {"rank": 4}}}}),
    ],
)
def test_applied(before: Any, text: str, after: Any) -> None:
    changed, _, problems = apply(before, [text])
    assert (changed, problems) == (after, [])


def test_the_given_values_stay_as_they_were() -> None:
    before = {"a": {"b": 1}}
    apply(before, ["a.b=2"])
    assert before == {"a": {"b": 1}}


def test_later_ones_win() -> None:
    assert apply({}, ["a=1", "a=2"])[0] == {"a": 2}


@pytest.mark.parametrize("text", ["a", "=3", "a..b=3", "a b=3", "a=[1", "a.9=1", "a.x.b=1", "a=*x"])
def test_refused(text: str) -> None:
    changed, _, problems = apply({"a": [1]}, [text])
    assert changed == {"a": [1]}
    assert [p.path for p in problems] == [f"--set {text}"]


def test_problems_stand_at_the_override(problems: Find, good: str) -> None:
    found = problems(good, ("train.epocs=3", "train.batch_size=many", "deploy.to=aws"))
    told = {p.path: p for p in found}
    assert told["--set train.epocs=3"].suggestion == "epochs"
    assert "'many' is not a whole number" in told["--set train.batch_size=many"].reason
    assert "no platform is called 'aws'" in told["--set deploy.to=aws"].reason
    assert all(p.line == 0 for p in found)
    assert told["--set train.epocs=3"].render("f.yaml").startswith("f.yaml: --set train.epocs=3: unknown key")


def test_an_override_can_mend_a_file(written: Callable[[str], Path], good: str) -> None:
    file = written(good.replace("epochs: 3", "epochs: many"))
    loaded = load(file, overrides=["train.epochs=2", "gates=accuracy >= 0.5"])
    assert loaded.pipeline.train is not None
    assert loaded.pipeline.train.epochs == 2
    assert loaded.pipeline.gates == ("accuracy >= 0.5",)
