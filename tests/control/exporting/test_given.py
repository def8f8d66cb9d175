"""What a task is given by its environment, and the note that it leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from penstock.control.exporting.given import given_by, note_of, tell_store
from penstock.control.exporting.templates import Given
from penstock.core.errors import BadInput
from penstock.platforms.contract import JobResult
from penstock.platforms.remote.hosts_file import say_failure
from penstock.store.artifacts import Artifacts

TOLD = {"PENSTOCK_GIVEN_RUN": "r", "PENSTOCK_GIVEN_NOTE": note_of("r", "total")}


def test_what_is_given() -> None:
    more = {"PENSTOCK_GIVEN_INPUT_0": "folder=sha256:1", "PENSTOCK_GIVEN_INPUT_10": "b=sha256:2", "PENSTOCK_GIVEN_SET_0": "train.steps=3=4"}
    given = Given("r", {"folder": "sha256:1", "b": "sha256:2"}, {"train.steps": "3=4"})
    assert given_by({**TOLD, **more}) == (given, "jobs/workflows/r/total.json")


@pytest.mark.parametrize(
    "wrong", [{"PENSTOCK_GIVEN_RUN": ""}, {"PENSTOCK_GIVEN_NOTE": "jobs/x.json"}, {"PENSTOCK_GIVEN_INPUT_0": "folder"}]
)
def test_what_is_not_given(wrong: dict[str, str]) -> None:
    with pytest.raises(BadInput, match="PENSTOCK_GIVEN_"):
        given_by({**TOLD, **wrong})


def test_what_is_told(tmp_path: Path) -> None:
    artifacts = Artifacts(str(tmp_path / "store"), tmp_path / "cache")
    tell_store(JobResult("sha256:1", {"value": "sha256:2"}, {"loss": 1.0}, 2.0), TOLD["PENSTOCK_GIVEN_NOTE"], artifacts)
    found = artifacts.get_note("jobs/workflows/r/total.json")
    assert found is not None
    assert json.loads(found) == {"key": "sha256:1", "outputs": {"value": "sha256:2"}}


def test_why_it_failed_is_said_once_and_only_to_sagemaker(tmp_path: Path) -> None:
    say_failure({"SAGEMAKER_BASE_DIR": str(tmp_path)}, "elsewhere")
    assert not (tmp_path / "output").exists()
    (tmp_path / "input" / "config").mkdir(parents=True)
    for text in ("x" * 2000, "an echo"):
        say_failure({"SAGEMAKER_BASE_DIR": str(tmp_path)}, text)
    assert (tmp_path / "output" / "failure").read_text() == "x" * 1024
