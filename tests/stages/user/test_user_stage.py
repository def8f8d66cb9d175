"""User steps: what the annotations mean, and what is said when values do not fit them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from penstock.core.errors import BadInput
from penstock.platforms.code_path import importable
from penstock.spec.steps import UserConfig
from penstock.stages.user.stage import UserStage
from penstock.testing.stages import FolderInputs, run_stage

HEAD = """
from __future__ import annotations
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from penstock.stages.user.types import Context, Folder, Metrics, Output

@dataclass
class Split:
    name: str
    share: float = 0.5
"""


class Step:
    """Runs one function of given source, with values and inputs."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __call__(self, body: str, values: dict[str, Any] | None = None, inputs: dict[str, Path] | None = None) -> Any:
        (self.place / "my_steps.py").write_text(HEAD + body)
        config = UserConfig(uses="my_steps:step", values=values or {}, inputs={name: f"other.{name}" for name in inputs or {}}, code={})
        with importable([str(self.place)]):
            return run_stage(UserStage(), config, self.place / "out", FolderInputs(inputs or {}))


@pytest.fixture
def step(tmp_path: Path) -> Step:
    return Step(tmp_path)


def value_of(ran: Any) -> Any:
    return json.loads((ran.outputs.root / "value" / "value.json").read_bytes())


def test_values_are_validated_into_their_types(step: Step) -> None:
    head = "def step(n: int, parts: list[Split], mode: Literal['a', 'b'] = 'a', free=3) -> list[Any]:\n"
    body = head + "    return [n, parts[0].share, mode, free]"
    assert value_of(step(body, {"n": "4", "parts": [{"name": "x"}]})) == [4, 0.5, "a", 3]


def test_dataclass_result_is_json(step: Step) -> None:
    assert value_of(step("def step() -> Split:\n    return Split('x')")) == {"name": "x", "share": 0.5}


def test_none_gives_no_value(step: Step) -> None:
    ran = step("def step() -> None:\n    pass")
    assert ran.metrics == {}
    assert not ran.outputs.kinds


def test_metrics(step: Step) -> None:
    assert step("def step() -> Metrics:\n    return {'accuracy': 1}").metrics == {"accuracy": 1.0}


def test_folder_and_output(step: Step, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("abc")
    body = "def step(data: Folder, made: Output) -> None:\n    (made / 'b.txt').write_text((data / 'a.txt').read_text().upper())"
    ran = step(body, inputs={"data": tmp_path / "in"})
    assert (ran.outputs.root / "made" / "b.txt").read_text() == "ABC"


def test_context_is_given_and_optional(step: Step) -> None:
    body = "def step(context: Context, n: int = 2) -> bool:\n    context.point('x', 1.0, 1)\n    return context.scratch.is_dir()"
    assert value_of(step(body)) is True


@pytest.mark.parametrize(
    ("body", "values", "said"),
    [
        ("def step(number: int) -> None: ...", {}, "argument 'number' is missing"),
        ("def step(number: int) -> None: ...", {"numbr": 1}, "did you mean 'number'"),
        ("def step(number: int) -> None: ...", {"number": "four"}, "argument 'number' is not int.*'four'"),
        ("def step(split: Split) -> None: ...", {"split": {"nam": "x"}}, "argument 'split' is not Split.*'name'"),
        ("def step(*numbers: int) -> None: ...", {}, r"'numbers' cannot be given by name"),
        ("def step(data: Folder) -> None: ...", {"data": "/etc"}, "must come from `inputs:`"),
        ("def step(number: Nowhere) -> None: ...", {"number": 1}, "annotation cannot be resolved.*Nowhere"),
        ("async def step() -> None: ...", {}, "async function"),
        ("def step() -> None:\n    return 1", {}, "annotated `-> None` but returned a int"),
        ("def step() -> int:\n    return 'x'", {}, "returned what is not its annotation"),
        ("def step() -> Metrics:\n    return {'a': 'b'}", {}, "metrics are numbers by name"),
        ("def step() -> Metrics:\n    return 0.5", {}, "return a dict of numbers"),
        ("def step():\n    return object()", {}, "returned a object that is not JSON"),
        ("def step():\n    return float('nan')", {}, "that is not JSON"),
        ("def other() -> None: ...\ndef stp() -> None: ...", {}, "has no function 'step'.*did you mean 'stp'"),
    ],
)
def test_what_does_not_fit_is_said(step: Step, body: str, values: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=f"(?s){said}"):
        step(body, values)


def test_folder_where_a_value_is_wanted(step: Step, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(BadInput, match=r"is int, but 'other.number' is no value"):
        step("def step(number: int) -> None: ...", inputs={"number": tmp_path / "in"})


def test_module_that_is_not_there(tmp_path: Path) -> None:
    config = UserConfig(uses="nowhere.at_all:step", values={}, inputs={}, code={})
    with pytest.raises(BadInput, match="no module 'nowhere'"):
        run_stage(UserStage(), config, tmp_path / "out", FolderInputs())


def test_error_inside_the_module_passes_through(step: Step) -> None:
    with pytest.raises(ModuleNotFoundError, match="not_installed_anywhere"):
        step("import not_installed_anywhere\ndef step() -> None: ...")


def test_a_secret_reaches_the_function_and_no_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from penstock.spec.steps import UserConfig
    from penstock.stages.user.call import Signature, bind
    from penstock.testing.stages import FolderInputs, FolderOutputs, RecordingContext

    monkeypatch.setenv("PENSTOCK_SECRET_TOKEN", "planted-value")
    given = {"token": "${secret:TOKEN}", "many": ["x", "Bearer ${secret:TOKEN}"]}
    config = UserConfig(uses="m:f", values=given, inputs={}, code={})
    around = (FolderInputs(), FolderOutputs(tmp_path / "out"), RecordingContext(tmp_path / "context"))
    fits = Signature({"token": str, "many": list[str]}, frozenset(), None)
    assert bind(fits, config, *around) == {"token": "planted-value", "many": ["x", "Bearer planted-value"]}
    with pytest.raises(BadInput) as refused:
        bind(Signature({"token": int, "many": list[int]}, frozenset(), None), config, *around)
    assert "TOKEN" in str(refused.value)
    assert "planted-value" not in str(refused.value)
