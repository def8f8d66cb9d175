"""A batch as people run it: through the platform's jobs and a replica process; killed and taken up again; the same bytes each time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from penstock.control.batch import BatchOptions, batch, batch_rows, find_batch
from penstock.control.world import World, open_world
from penstock.core.errors import BadInput, NotFound, PlatformLacks, StepFailed
from penstock.core.home import Home
from penstock.platforms.table import PLATFORMS
from penstock.testing.echo import _scores
from penstock.testing.serving import ECHO

OPTIONS = BatchOptions(engine_class=ECHO, rows_per_part=50, params={"max_tokens": 3})
DRIVER = """
import json, sys
from penstock.control.batch import BatchOptions, batch
options = BatchOptions(**json.loads(sys.argv[1]))
result = batch("echo", "in.jsonl", "out.jsonl", options=options, seen=lambda p: print(p["done"], flush=True))
print("finished", result.rows, result.failures, result.artifact, flush=True)
"""
TASKED = """
from penstock.testing.echo import EchoEngine

class Classifier(EchoEngine):
    def __init__(self, bundle, settings):
        super().__init__(bundle, {"task": "text-classification"})

class Embedder(EchoEngine):
    def __init__(self, bundle, settings):
        super().__init__(bundle, {"task": "embedding"})
"""
CLASSIFY = BatchOptions(engine_class="tasked:Classifier")
EMBED = BatchOptions(engine_class="tasked:Embedder")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Version 1 of `echo`, which generates, of `intents`, which classifies, of `vectors`, which embeds; the bundle holds a note."""
    for name in ("PENSTOCK_DATABASE", "PENSTOCK_ARTIFACTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tasked.py").write_text(TASKED)
    made = open_world(Home.find())
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "note.txt").write_text("an engine without weights")
    bundle = made.store.artifacts.commit(folder, "bundle", {}).digest
    for name, task in (("echo", "text-generation"), ("intents", "text-classification"), ("vectors", "embedding")):
        made.store.registry.register(name, bundle, run="run-1", task=task, metrics={}, gates=[], facts={})
    yield made
    made.close()
    made.store.close()


def rows(path: Path) -> list[Any]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def written(path: Path, texts: list[Any]) -> Path:
    path.write_bytes(b"".join(orjson.dumps({"id": number, "text": text}) + b"\n" for number, text in enumerate(texts)))
    return path


def test_answers_come_in_order_with_their_rows(world: World, tmp_path: Path) -> None:
    source = written(tmp_path / "in.jsonl", [f"row {number} says" for number in range(120)])
    seen: list[float] = []
    result = batch("echo", source, tmp_path / "out.jsonl", options=OPTIONS, seen=lambda p: seen.append(p["done"]))
    found = rows(tmp_path / "out.jsonl")
    assert (result.rows, result.failures, result.status) == (120, 0, "succeeded")
    assert [row["id"] for row in found] == list(range(120))
    assert found[7] == {
        "id": 7,
        "text": "row 7 says",
        "answer": "row 7 says ",
        "finish_reason": "length",
        "prompt_tokens": 3,
        "completion_tokens": 3,
        "error": None,
    }
    assert seen[-1] == 120
    again = batch("echo:1", source, tmp_path / "again.jsonl", options=replace(OPTIONS, concurrency=1, rows_per_part=7))
    assert again.artifact == result.artifact  # the same batch: nothing was asked again
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "out.jsonl").read_bytes()
    assert [row["rows"] for row in batch_rows(world.store)] == [120, 120]
    assert find_batch(world.store, "latest")["model"] == "echo:1"
    with pytest.raises(NotFound):
        find_batch(world.store, "batch-none")


def test_a_row_that_fails_fails_alone(world: World, tmp_path: Path) -> None:
    texts: list[Any] = [f"text {number}" for number in range(40)]
    texts[5], texts[11], texts[17], texts[23] = "\0", None, "boom", "x" * 3000
    source = written(tmp_path / "in.jsonl", texts)
    source.write_bytes(source.read_bytes() + b"{broken\n")
    options = replace(CLASSIFY, max_payload_bytes=2000)
    result = batch("intents", source, tmp_path / "out.csv", options=options)
    assert (result.rows, result.failures) == (41, 5)
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[0] == "id,text,label,score,error"
    assert lines[1] == f"0,text 0,{_scores('text 0')[0][0]},0.7,"
    failed = {row["row"]: row["error"] for row in rows(tmp_path / "out.csv.failures.jsonl")}
    assert set(failed) == {5, 11, 17, 23, 40}
    assert "NUL" in failed[5]
    assert "holds no text" in failed[11]
    assert failed[17].startswith("500")
    assert "longer than" in failed[23]
    assert "not JSON" in failed[40]
    with pytest.raises(StepFailed, match="5 rows failed, more than the 4"):
        batch("intents", source, tmp_path / "strict.csv", options=replace(options, max_failures=4))
    assert not (tmp_path / "strict.csv").exists()
    assert find_batch(world.store, "latest")["phase"] == "failed"


@pytest.mark.parametrize("model", ["intents", "vectors"])
def test_parquet_in_and_out(world: World, tmp_path: Path, model: str) -> None:  # noqa: ARG001 (the registry of this home)
    import polars as pl

    pl.DataFrame({"key": [1, 2, 3], "question": ["a b", "c", "d e"]}).write_parquet(tmp_path / "in.parquet")
    keep = ("key", "label") if model == "intents" else ("key", "embedding")
    options = replace(CLASSIFY if model == "intents" else EMBED, text="question", keep=[f"$.{name}" for name in keep])
    batch(model, tmp_path / "in.parquet", tmp_path / "out.parquet", options=options)
    found = pl.read_parquet(tmp_path / "out.parquet")
    assert found.columns == list(keep)
    assert found.height == 3
    if model == "intents":
        assert found["label"].to_list() == [_scores(text)[0][0] for text in ("a b", "c", "d e")]
    else:
        assert found["embedding"].to_list() == [[1.0, 0.0, 0.0]] * 3


def test_openai_lines_keep_their_ids_and_their_errors(world: World, tmp_path: Path) -> None:  # noqa: ARG001
    lines = [
        {"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {"model": "other", "prompt": "one two", "max_tokens": 2}},
        {"custom_id": "b", "method": "POST", "url": "/v1/completions", "body": {"prompt": "x", "max_tokens": -1}},
        {"custom_id": "c", "method": "GET", "url": "/v1/completions", "body": {}},
        {"custom_id": "d", "url": "/v1/chat/completions", "body": {"messages": [{"role": "user", "content": "hey"}], "max_tokens": 1}},
    ]
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(orjson.dumps(line) for line in lines))
    result = batch("echo", tmp_path / "in.jsonl", tmp_path / "out.jsonl", options=replace(OPTIONS, openai=True, params={}))
    first, second, third, fourth = rows(tmp_path / "out.jsonl")
    assert result.failures == 2
    assert first["custom_id"] == "a"
    assert first["response"]["status_code"] == 200
    assert first["response"]["body"]["choices"][0]["text"] == "one two "
    assert first["error"] is None
    assert second["response"]["status_code"] == 400
    assert "max_tokens" in second["response"]["body"]["error"]["message"]
    assert third["response"] is None
    assert "only POST" in third["error"]["message"]
    assert fourth["response"]["body"]["choices"][0]["message"]["content"] == "hey "


def test_a_killed_batch_goes_on_after_its_last_part(world: World, tmp_path: Path) -> None:
    """SIGKILL to every process of the first try; the second asks only for what was not finished, and the bytes are those of one try."""
    written(tmp_path / "in.jsonl", [f"row {number}" for number in range(200)])
    steps = tmp_path / "steps"
    given = {"engine_class": "slow_echo:Slow", "rows_per_part": 20, "concurrency": 2, "params": {"max_tokens": 1}}
    (tmp_path / "slow_echo.py").write_text(
        "from penstock.testing.echo import EchoEngine\n"
        "class Slow(EchoEngine):\n"
        "    def __init__(self, bundle, settings):\n"
        f"        super().__init__(bundle, {{'task': 'text-generation', 'step_s': 0.02, 'steps_file': {str(steps)!r}}})\n"
    )
    environment = dict(os.environ)
    command = [sys.executable, "-c", DRIVER, json.dumps(given)]
    first = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert first.stdout is not None
    for line in first.stdout:
        if int(line.split()[0]) >= 60:
            break
    victims = descendants(first.pid)
    for pid in [first.pid, *victims]:
        os.kill(pid, signal.SIGKILL)
    first.wait(10)
    first.stdout.close()
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in victims) and time.monotonic() < deadline:
        time.sleep(0.02)
    done = sum(int(path.name.split("-")[2]) for path in (tmp_path / "home" / "jobs").rglob("part-*.jsonl"))
    asked = steps.stat().st_size
    assert 60 <= done <= asked < 200
    second = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert second.returncode == 0, second.stderr
    asked_again = steps.stat().st_size - asked
    warm_up = asked_again - (200 - done)
    assert 0 <= warm_up <= 24  # what was finished is not asked again; a replica warms itself up with a few steps
    assert second.stdout.splitlines()[-1].startswith("finished 200 0 ")
    found = rows(tmp_path / "out.jsonl")
    assert [row["answer"] for row in found] == [row["text"].split()[0] + " " for row in found]
    assert [row["id"] for row in found] == list(range(200))
    once = batch("echo", tmp_path / "in.jsonl", tmp_path / "once.jsonl", options=BatchOptions(**{**given, "engine_class": ECHO}))  # type: ignore[arg-type]
    assert once.artifact == second.stdout.split()[-1]
    assert batch_rows(world.store)[0]["phase"] == "succeeded"


def descendants(pid: int) -> list[int]:
    import psutil

    return [process.pid for process in psutil.Process(pid).children(recursive=True)]


def alive(pid: int) -> bool:
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_what_cannot_be_is_refused_before_anything_starts(world: World, tmp_path: Path) -> None:
    source = written(tmp_path / "in.jsonl", ["a"])

    def refused(match: str, model: str = "intents", output: str = "out.jsonl", **options: Any) -> None:
        with pytest.raises(BadInput, match=match):
            batch(model, source, tmp_path / output, options=replace(CLASSIFY, **options))

    refused("no column 'nothing'", text="nothing")
    refused("no column 'colour' to keep", keep=["colour"])
    refused("in no format", output="out.xlsx")
    refused("is the input", output="in.jsonl")
    refused("no custom_id", openai=True)
    refused("temperature above 0", model="echo", params={"temperature": 0.7})
    refused("no version 9", model="intents:9")
    refused("nobody", model="nobody")
    source.write_bytes(b'{"text": "a", "label": "mine"}\n')
    refused("a column 'label' already")
    assert batch("intents", source, tmp_path / "out.jsonl", options=replace(CLASSIFY, prefix="predicted_")).rows == 1
    assert rows(tmp_path / "out.jsonl")[0]["label"] == "mine"
    assert len(batch_rows(world.store)) == 1


def test_a_service_for_batches_is_refused_where_there_is_none(world: World, tmp_path: Path) -> None:
    source = written(tmp_path / "in.jsonl", ["a"])
    with pytest.raises(PlatformLacks, match="this machine has no service for batches") as told:
        batch("intents", source, tmp_path / "out.jsonl", options=replace(CLASSIFY, vendor=True))
    assert "--vendor" in told.value.way_out
    section: dict[str, Any] = {"kind": "kubernetes", "image": "i", "namespace": "n"}
    with pytest.raises(PlatformLacks, match="Kubernetes has no service for batches"):
        PLATFORMS.load("kubernetes").batches(Home.find(), world.store.artifacts, section)
    assert not (tmp_path / "out.jsonl").exists()
