"""`penstock batch` as a command: where nothing ran, what is refused, what is shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.core.home import Home


def test_nothing_yet(call: Callable[..., Any], folder: Path) -> None:
    assert call("batch", "list", "--json").json == {"batches": []}
    assert call("batch", "show").code == 2
    assert list(folder.iterdir()) == []


def test_refusals_come_before_any_work(call: Callable[..., Any], folder: Path) -> None:
    from penstock.store.store import Store

    store = Store.open(Home.find())
    try:
        store.registry.register("m", "sha256:" + "1" * 64, run="r", task="text-classification", metrics={}, gates=[], facts={})
    finally:
        store.close()
    (folder / "in.csv").write_text("review\ngood\n")
    unknown = call("batch", "run", "nobody", "in.csv", "-o", "out.csv")
    assert unknown.code == 2
    column = call("batch", "run", "m", "in.csv", "-o", "out.csv", "--json")
    assert "no column 'text' (it has: review)" in column.error["message"]
    assert "--max-payload" in call("batch", "run", "m", "in.csv", "-o", "out.csv", "--max-payload", "much").err
    assert "no file" in call("batch", "run", "m", "none.csv", "-o", "out.csv").err
    assert "Add --vendor" in call("batch", "run", "m", "in.csv", "-o", "out.csv", "--instances", "2").err
    assert "no service for batches" in call("batch", "run", "m", "in.csv", "-o", "out.csv", "--text", "review", "--vendor").err
    assert call("batch", "list", "--json").json == {"batches": []}
    assert not (folder / "out.csv").exists()


def test_a_bundle_that_is_gone_is_told_and_remembered(call: Callable[..., Any], folder: Path) -> None:
    from penstock.store.store import Store

    store = Store.open(Home.find())
    try:
        store.registry.register("m", "sha256:" + "1" * 64, run="r", task="text-classification", metrics={}, gates=[], facts={})
    finally:
        store.close()
    (folder / "in.csv").write_text("text\ngood\n")
    done = call("batch", "run", "m:1", "in.csv", "-o", "out.csv", "--json")
    assert done.code == 1
    shown = call("batch", "show", "latest", "--json").json
    assert (shown["phase"], shown["model"]) == ("failed", "m:1")
    assert shown["error"]["message"] == done.error["message"]
    assert "m:1" in call("batch", "list").out
    assert shown["id"] in call("batch", "show", shown["id"][:12]).out


def test_a_dry_run_of_the_vendors_service_asks_nobody(call: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from penstock.store.store import Store

    monkeypatch.setenv("PENSTOCK_ARTIFACTS", "s3://nowhere/store")
    role, image = "arn:aws:iam::123456789012:role/penstock", "123456789012.dkr.ecr.eu-west-1.amazonaws.com/penstock:1"
    section = {"kind": "sagemaker", "region": "eu-west-1", "role": role, "image": image}
    store = Store.open(Home.find())
    try:
        run = store.resources.create("run", "m", {"platforms": {"aws": section}}).id
        store.registry.register("m", "sha256:" + "1" * 64, run=run, task="text-classification", metrics={}, gates=[], facts={})
    finally:
        store.close()
    line = ("batch", "run", "m", "in.csv", "-o", "out.csv", "--on", "aws", "--vendor", "--dry-run")
    told = call(*line, "--instances", "3", "--json").json
    assert (told["machine"], told["nodes"], told["usd_per_h"]) == ("ml.m5.large", 3, pytest.approx(0.345))
    assert told["calls"] == ["sagemaker:CreateModel", "sagemaker:CreateTransformJob: 3 × ml.m5.large, in eu-west-1"]
    shown = call(*line, "--machine", "ml.g5.xlarge")
    assert "1 × ml.g5.xlarge, 1.408 USD an hour" in shown.err
    assert "batch transform has no machine 'ml.p5.48xlarge'" in call(*line, "--machine", "ml.p5.48xlarge").err
    assert not (folder / "out.csv").exists()
