"""Rounds of a batch at a vendor's service: what is asked, asked again and given up; and what is left, wherever it is cut off."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from penstock.control.elsewhere import CLOSING_S, COLLECT_S, UNSEEN_S, Elsewhere
from penstock.control.rounds import known, size_of
from penstock.core.errors import BadInput, Interrupted, PlatformAway, PlatformFull, StepFailed
from penstock.core.home import Home
from penstock.platforms.contract import JobResult, JobSpec
from penstock.platforms.execute import execute
from penstock.platforms.external import known_digest
from penstock.platforms.handed import Caller
from penstock.platforms.remote.driver import Sight
from penstock.spec.steps import PredictConfig
from penstock.store.artifacts import Artifacts
from penstock.testing.batches import MemoryBatches

KEY = "sha256:" + "7" * 64


class Killed(BaseException):
    """As if the process ended here."""


def classified(order: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """`boom` is refused, `doom` ends the container."""
    (text,) = json.loads(order["body"])["input"]
    if text == "doom":
        return None
    if text == "boom":
        return {"row": order["row"], "status": 500, "body": json.dumps({"error": {"message": "it broke"}})}
    label = {"label": text, "score": 0.5}
    return {"row": order["row"], "status": 200, "body": json.dumps({"data": [{**label, "labels": [label]}]})}


@dataclass
class Place:
    folder: Path
    service: MemoryBatches = field(init=False)
    artifacts: Artifacts = field(init=False)
    home: Home = field(init=False)
    now: float = 0.0
    at: dict[int, Callable[[], None]] = field(default_factory=dict)  # what happens while it waits for the nth time
    waits: int = 0
    seen: list[Mapping[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.home = Home.find(self.folder, {})
        self.artifacts = Artifacts(str(self.folder / "store"), self.folder / "cache")
        self.service = MemoryBatches(self.artifacts, classified)

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 1.0)
        self.waits += 1
        self.at.get(self.waits, lambda: None)()

    def __call__(self, texts: list[Any], **config: Any) -> JobResult:
        source = self.folder / "in.jsonl"
        source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        digest = known_digest(source, self.folder / "cache")
        made = {"name": "m", "file_name": "in.jsonl", "digest": digest, "path": "/v1/classify", "rows_per_part": 4, "rows_per_request": 2}
        told = PredictConfig(**{**made, **config}).model_dump(mode="json")
        job = JobSpec(KEY, "run", "predict", "predict", told, {"bundle": "sha256:" + "1" * 64}, {digest: str(source)})
        stage = Elsewhere(self.service, self.artifacts, KEY, "small", 2, clock=lambda: self.now, sleep=self.sleep)
        return execute(job, self.artifacts, self.home, Caller(self.seen.append, lambda: False), stage=stage)

    def rows(self, result: JobResult) -> list[dict[str, Any]]:
        folder = self.artifacts.materialize(result.outputs["predictions"])
        return [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]

    def clean(self) -> bool:
        return not self.service.there and not self.artifacts.notes("batches")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_answers_become_rows_in_their_order(place: Place) -> None:
    result = place(["a", None, "boom", "d", "e", "f", "g", "h", "i"])
    rows = place.rows(result)
    assert [row["label"] for row in rows] == ["a", None, None, "d", "e", "f", "g", "h", "i"]
    assert [row["error"] for row in rows[1:3]] == ["the column 'text' holds no text", "500: it broke"]
    assert result.metrics == {"rows": 9.0, "failed": 2.0}
    assert sorted(place.service.asked) == [0, 2, 3, 4, 5, 6, 7, 8]
    assert len(place.service.submitted) == 1
    assert place.clean()
    assert place(["a"] * 9).outputs == result.outputs, "the key names the result"


def test_a_file_of_which_nothing_can_be_asked_asks_nobody(place: Place) -> None:
    assert place([None, None]).metrics == {"rows": 2.0, "failed": 2.0}
    assert place.service.submitted == []
    assert place.clean()


def test_progress_is_told_as_files_of_answers_come(place: Place) -> None:
    place.at = {n: lambda: setattr(place, "now", place.now + COLLECT_S) for n in (1, 2, 3)}
    place(["x"] * 12)
    done = [event["progress"]["done"] for event in place.seen if "progress" in event]
    assert done[0] == 0
    assert done[-1] == 12
    assert len(set(done)) > 2


def test_what_has_no_answer_is_asked_again_in_smaller_shards_and_then_given_up(place: Place) -> None:
    result = place(["a", "b", "c", "d", "e", "doom", "g", "h"])
    rows = place.rows(result)
    assert [row["label"] for row in rows] == ["a", "b", "c", "d", "e", None, "g", "h"]
    assert rows[5]["error"] == "the twin gave no answer, not even to this row by itself (a container ended)"
    assert result.metrics["failed"] == 1.0
    assert [place.service.asked.count(row) for row in range(8)] == [1, 1, 1, 1, 2, 3, 2, 2]
    assert len(set(place.service.submitted)) == 3
    assert place.clean()


def test_one_row_that_ends_its_container_for_good_fails_alone(place: Place) -> None:
    """A container that nobody starts again: every round loses what comes after the row, and another order brings it."""
    place.service.fragile = True
    rows = place.rows(place(["a", "b", "doom", "d", *"efghijkl"]))
    assert [row["label"] for row in rows] == ["a", "b", None, "d", *"efghijkl"]
    assert len(place.service.submitted) <= 8
    assert place.clean()


def test_shards_shrink_to_single_rows() -> None:
    assert [size_of(1024, tried) for tried in range(4)] == [1024, 32, 1, 1]
    assert [size_of(4, tried) for tried in range(3)] == [4, 1, 1]


def test_a_service_that_answers_nothing_twice_ends_the_batch(place: Place) -> None:
    with pytest.raises(StepFailed, match=r"the twin answered nothing .*a container ended\nthe last line"):
        place(["doom", "doom"])
    assert len(place.service.submitted) == 2
    assert place.clean()


def test_a_lost_answer_makes_no_second_batch(place: Place) -> None:
    place.service.lose_answers = 1
    with pytest.raises(PlatformAway):
        place(["a"] * 5)
    assert place.rows(place(["a"] * 5))[4]["label"] == "a"
    assert len(place.service.submitted) == 1
    assert place.clean()


@pytest.mark.parametrize("wait", [1, 2, 3])
def test_killed_anywhere_the_same_command_finds_it(place: Place, wait: int) -> None:
    def kill() -> None:
        raise Killed

    place.at = {wait: kill}
    with pytest.raises(Killed):
        place(["x"] * 9)
    assert place.service.there, "what runs goes on"
    assert place(["x"] * 9).metrics["rows"] == 9.0
    assert sorted(place.service.asked) == list(range(9)), "no row is asked twice"
    assert place.clean()


def test_killed_between_the_end_and_the_tidying(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(_self: MemoryBatches, _order: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(MemoryBatches, "remove", kill)
        with pytest.raises(Killed):
            place(["x"] * 5)
    assert place(["x"] * 5).metrics["rows"] == 5.0
    assert len(place.service.submitted) == 1
    assert place.clean()


def test_ctrl_c_keeps_what_came_and_ends_it(place: Place) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    place.at = {2: interrupt}
    with pytest.raises(Interrupted, match="goes on"):
        place(["x"] * 12)
    assert place.clean()
    assert place(["x"] * 12).metrics["rows"] == 12.0
    assert sorted(set(place.service.asked)) == list(range(12))
    assert len(place.service.asked) == 12, "shards that were answered are not asked again"
    assert len(set(place.service.submitted)) == 2, "a name is used once"
    assert place.clean()


def test_a_service_that_does_not_stop_in_time_is_tidied_by_the_same_command(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    place.at = {1: interrupt, 2: lambda: setattr(place, "now", place.now + CLOSING_S)}
    place.service.hold = 50
    with monkeypatch.context() as patch:
        patch.setattr(MemoryBatches, "cancel", lambda _self, _order: None)
        with pytest.raises(Interrupted):
            place(["x"] * 3)
    (name,) = place.service.there
    place.service.end(name, Sight("stopped"))
    place.service.hold = 0
    assert place(["x"] * 3).metrics["rows"] == 3.0
    assert place.clean()


def test_one_that_somebody_else_stops_is_not_started_again_unasked(place: Place) -> None:
    place.at = {1: lambda: place.service.end(place.service.submitted[0], Sight("stopped"))}
    with pytest.raises(Interrupted, match="and not by us"):
        place(["x"] * 9)
    assert len(place.service.submitted) == 1
    assert place.clean()
    assert place(["x"] * 9).metrics["rows"] == 9.0


def test_one_that_is_deleted_behind_our_back_is_asked_for_anew(place: Place) -> None:
    def forget() -> None:
        place.service.forget(place.service.submitted[0])
        place.now += UNSEEN_S

    place.at = {1: forget}
    assert place(["x"] * 9).metrics == {"rows": 9.0, "failed": 0.0}
    assert len(set(place.service.submitted)) == 2
    assert place.clean()


def test_no_room_is_told_at_once_and_leaves_nothing(place: Place) -> None:
    place.service.refuse = PlatformFull("the quota is used up")
    with pytest.raises(PlatformFull):
        place(["x"])
    assert place.clean()
    place.service.refuse = None
    place.at = {place.waits + 1: lambda: place.service.end(place.service.submitted[0], Sight("failed", "no room", failure=PlatformFull))}
    place.service.hold = 5
    with pytest.raises(PlatformFull, match="no room"):
        place(["doom"])
    assert place.clean()


def test_too_many_failures_end_it_while_it_runs(place: Place) -> None:
    place.at = {n: lambda: setattr(place, "now", place.now + COLLECT_S) for n in range(1, 9)}
    with pytest.raises(StepFailed, match="2 rows failed, more than the 1 that may; the first is row 0: 500: it broke"):
        place(["boom", "boom", *["x"] * 30], max_failures=1)
    assert len(place.service.asked) < 32, "the rest was not waited for"
    assert place.clean()
    assert place(["boom", "boom", *["x"] * 30], max_failures=2).metrics["failed"] == 2.0


def test_a_request_that_the_service_does_not_take_is_told_before_it_is_asked(place: Place) -> None:
    place.service.most_bytes = 100
    with pytest.raises(BadInput, match=r"the twin takes 100"):
        place(["x" * 200])
    assert place.service.submitted == []
    assert place.clean()


def test_the_name_follows_from_what_is_asked(place: Place) -> None:
    place(["a", "b"])
    (name,) = place.service.submitted
    assert name.startswith(f"penstock-batch-{'7' * 16}-")
    assert len(name) <= 63
    round_ = known(place.artifacts, KEY)
    assert round_ is not None
    assert (round_.open, round_.number, round_.name) == (False, 1, name)
