"""What records tell of a classification and of the client's metadata; and whether a request may be trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.serving.snapshot import Shadow
from penstock.serving.told import LONGEST_BODY, best_of, may_train, metadata_of
from penstock.testing.plain import PLAIN
from penstock.testing.serving import SECRET, RunningGateway, Stage, snapshot_of, wait_for


def test_the_best_label_of_one_text() -> None:
    row = {"index": 0, "label": "cards", "score": 0.75, "labels": []}
    assert best_of(orjson.dumps({"data": [row]})) == ("cards", 0.75)
    for body in (
        b"",
        b"[]",
        b"{}",
        b'{"data": 3}',
        b'{"data": [{}]}',
        b'{"data": [{"label": 3, "score": 1}]}',
        b'{"data": [{"label": "a"}]}',
    ):
        assert best_of(body) == (None, None)
    assert best_of(orjson.dumps({"data": [row, row]})) == (None, None), "two texts have no one label"
    assert best_of(orjson.dumps({"data": [row], "more": "x" * LONGEST_BODY})) == (None, None)


def test_declared_fields_of_the_metadata_only() -> None:
    given = {"channel": "web", "amount": 12.5, "vip": True, "secret": "s", "list": [1], "none": None, "long": "é" * 999}
    told = metadata_of({"metadata": given}, ("channel", "amount", "vip", "list", "none", "long", "absent"))
    assert told == {"channel": "web", "amount": 12.5, "vip": "true", "long": "é" * 256}
    assert metadata_of({"metadata": {"secret": "s"}}, ("channel",)) is None
    for nothing in ({}, {"metadata": None}, {"metadata": "web"}, {"metadata": []}):
        assert metadata_of(nothing, ("channel",)) is None


@given(st.dictionaries(st.text(max_size=3), st.one_of(st.text(), st.floats(), st.booleans(), st.none(), st.lists(st.integers()))))
def test_whatever_metadata_there_is_can_be_written(given: dict[str, Any]) -> None:
    orjson.dumps(metadata_of({"metadata": given}, tuple(given)))


@pytest.mark.parametrize(("said", "may"), [(None, True), (b"yes", True), (b"no", False), (b" NO ", False), (b"false", False), (b"", True)])
def test_training(said: bytes | None, may: bool) -> None:
    assert may_train({} if said is None else {b"x-penstock-training": said}) is may


def test_through_the_gateway_with_a_shadow(tmp_path: Path) -> None:
    with Stage(tmp_path) as stage:
        settings = {"task": "text-classification"}
        live = stage.replica("r1", "echo", settings=settings)
        shadow = stage.replica("r2", "echo", "2", settings=settings)
        snapshot = snapshot_of(1, ("1", 1.0, [live]), ("2", 0.0, [shadow]))
        model = replace(snapshot.models[0], task="text-classification", metadata=("channel",), shadow=Shadow("2", 1.0))
        private = replace(snapshot.keys[0], id="key-2", name="private", sha256=sha("psk-private"), training=False)
        gateway = stage.gateway(replace(snapshot, models=(model,), keys=(*snapshot.keys, private)))
        said = asked(gateway, {"input": "a card", "metadata": {"channel": "web", "name": "Ann"}})
        asked(gateway, {"input": ["a card", "a loan"]})
        asked(gateway, {"input": "a card"}, {"x-penstock-training": "no"})
        asked(gateway, {"input": "a card"}, {"authorization": "Bearer psk-private"})
        wait_for(lambda: len(gateway.records(4)) == 8, 10, "the copies' records")
        rows = gateway.records(8)
        own = [row for row in rows if row["shadow_of"] is None]
        best = said["data"][0]
        assert [(row["label"], row["confidence"]) for row in own] == [(best["label"], best["score"]), (None, None), *[own_best(own[2])] * 2]
        assert [row["metadata"] for row in own] == [{"channel": "web"}, None, None, None]
        assert [row["training"] for row in own] == [True, True, False, False]
        copies = {row["shadow_of"]: row for row in rows if row["shadow_of"] is not None}
        for row in own:
            copy = copies[row["id"]]
            assert all(copy[name] == row[name] for name in ("label", "confidence", "metadata", "training"))


def own_best(row: dict[str, Any]) -> tuple[Any, Any]:
    assert row["label"] is not None
    return row["label"], row["confidence"]


def asked(gateway: RunningGateway, body: dict[str, Any], headers: dict[str, str] | None = None) -> Any:
    sent = {"authorization": f"Bearer {SECRET}", **(headers or {})}
    answer = httpx.post(f"{gateway.url}/v1/classify", json={"model": "echo", **body}, headers=sent, **PLAIN)
    assert answer.status_code == 200, answer.text
    return answer.json()


def sha(secret: str) -> str:
    import hashlib

    return hashlib.sha256(secret.encode()).hexdigest()
