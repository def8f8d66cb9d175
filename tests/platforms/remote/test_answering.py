"""A share of a batch in a container of a vendor's service: its shards, its answers, and a row that no replica survives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from penstock.core.errors import Interrupted, NotFound
from penstock.platforms.batches import BatchOrder, answer_of, fetched, grouped, line_of, published
from penstock.platforms.remote.answering import answer
from penstock.store.artifacts import Artifacts

CLASSIFIER = {"engine_class": "penstock.testing.echo:EchoClassifier"}


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(str(tmp_path / "store"), tmp_path / "cache")


def order_of(artifacts: Artifacts, folder: Path, shards: dict[str, list[tuple[int, str]]], instances: int = 1) -> BatchOrder:
    (folder / "bundle").mkdir()
    (folder / "bundle" / "note.txt").write_text("an engine without weights")
    bundle = artifacts.commit(folder / "bundle", "bundle", {}).digest
    for name, rows in shards.items():
        orders = [line_of(row, "/v1/classify", json.dumps({"model": "m", "input": [text]}).encode()) for row, text in rows]
        artifacts.put_note(f"batches/b/in/{name}", grouped(orders) + b"\n")
    return BatchOrder("b", "m", bundle, "batches/b/in", "batches/b/out", tuple(shards), "small", instances, 2, 32, 1000)


def answers(artifacts: Artifacts) -> dict[str, list[tuple[int, int]]]:
    found: dict[str, list[tuple[int, int]]] = {}
    for name in artifacts.notes("batches/b/out"):
        lines = (artifacts.get_note(name) or b"").splitlines()
        rows: list[Any] = [answer_of(row) for line in lines for row in json.loads(line)["predictions"]]
        found[name.rpartition("/")[2]] = [(row.row, row.status) for row in rows]
    return found


def test_shards_are_shared_out_and_a_row_that_no_replica_survives_fails_alone(artifacts: Artifacts, tmp_path: Path) -> None:
    shards = {"0": [(0, "a"), (1, "doom"), (2, "c")], "1": [(3, "d")], "2": [(4, "e"), (5, "boom")]}
    order = order_of(artifacts, tmp_path, shards, instances=2)
    assert answer(order, 0, artifacts, tmp_path / "replica", dict(CLASSIFIER), lambda: False) == 2
    assert answers(artifacts) == {"0.out": [(0, 200), (1, 0), (2, 200)], "2.out": [(4, 200), (5, 500)]}
    assert answer(order, 0, artifacts, tmp_path / "replica", dict(CLASSIFIER), lambda: False) == 0, "what is answered is not asked again"


def test_one_that_is_asked_to_stop_keeps_what_it_has(artifacts: Artifacts, tmp_path: Path) -> None:
    order = order_of(artifacts, tmp_path, {"0": [(0, "a")], "1": [(1, "b")]})
    looks = iter((False, True))
    with pytest.raises(Interrupted):
        answer(order, 0, artifacts, tmp_path / "replica", dict(CLASSIFIER), lambda: next(looks))
    assert list(answers(artifacts)) == ["0.out"]


def test_an_order_comes_back_as_it_was_published(artifacts: Artifacts, tmp_path: Path) -> None:
    order = order_of(artifacts, tmp_path, {"0": []})
    name = published(artifacts, order)
    assert (fetched(artifacts, name).name, list(fetched(artifacts, name).shards)) == ("b", ["0"])
    with pytest.raises(NotFound):
        fetched(artifacts, "batches/c/order.json")
