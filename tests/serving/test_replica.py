"""A replica as a process: what it says of itself, its adapters, and how it ends when its engine broke."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.engines.contract import ClassifyRequest, EmbedRequest, GenerateRequest
from penstock.serving.warming import shapes
from penstock.testing.serving import SECRET, RunningReplica, Stage, snapshot_of, wait_for


def at(replica: RunningReplica) -> httpx.Client:
    return httpx.Client(base_url=f"http://127.0.0.1:{replica.route.port}", trust_env=False, timeout=30)


def adapter(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    adapter(tmp_path / "adapters" / "polite")
    adapter(tmp_path / "elsewhere")
    (tmp_path / "adapters" / "way-out").symlink_to(tmp_path / "elsewhere")
    return tmp_path / "adapters"


@pytest.fixture
def replica(stage: Stage, root: Path, tmp_path: Path) -> Iterator[httpx.Client]:
    given = adapter(tmp_path / "given")
    with at(stage.replica("r", adapters={"terse": str(given)}, adapter_root=str(root))) as client:
        yield client


def post(client: httpx.Client, route: str, **body: Any) -> httpx.Response:
    return client.post(route, json=body)


def say(client: httpx.Client, model: str) -> httpx.Response:
    return post(client, "/v1/completions", model=model, prompt="a b", max_tokens=2)


def test_it_tells_memory_queue_and_cold_start(stage: Stage) -> None:
    replica = stage.replica("r")
    ready = json.loads((stage.folder / "replicas" / "r.ready.json").read_bytes())
    with at(replica) as client:
        health = client.get("/healthz").json()
        metrics = client.get("/metrics").text
    parts = ("start_seconds", "load_seconds", "warm_up_seconds")
    assert all(ready[name] == health[name] >= 0 for name in parts)
    assert ready["start_seconds"] > 0
    assert 10 << 20 < health["memory_bytes"] < 1 << 30
    assert ready["memory_bytes"] > 10 << 20
    assert (health["status"], health["in_flight"], health["queue"]) == ("ok", 0, 0)
    assert "penstock_replica_engine_requests 3" in metrics  # every shape was asked for
    assert 'penstock_replica_cold_start_seconds{phase="warm_up"}' in metrics
    assert "penstock_replica_memory_bytes " in metrics
    assert "penstock_replica_queue 0" in metrics


def test_warm_up_asks_short_long_and_many() -> None:
    sizes = [(len(r.texts), len(r.texts[0])) for r in shapes("text-classification", 512) if isinstance(r, ClassifyRequest)]
    assert sizes[1][1] > 5 * sizes[0][1]
    assert sizes[2][0] > 1
    assert all(isinstance(r, EmbedRequest) for r in shapes("embedding", 512))
    texts = [r for r in shapes("text-generation", 512) if isinstance(r, GenerateRequest)]
    assert {r.temperature for r in texts} == {0.0, 1.0}


@pytest.mark.parametrize("length", [17, 64, 512, 4096, 1 << 20])
def test_warm_up_fits_a_model_that_reads_single_characters(length: int) -> None:
    for request in shapes("text-generation", length):
        assert isinstance(request, GenerateRequest)
        assert 0 < len(request.prompt or "") + request.max_tokens < min(length, 2000)


def test_adapters_of_the_spec_answer_by_name(replica: httpx.Client) -> None:
    answer = say(replica, "echo:terse").json()
    assert (answer["model"], answer["choices"][0]["text"]) == ("echo:terse", "terse:a terse:b ")
    assert [m["id"] for m in replica.get("/v1/models").json()["data"]] == ["echo", "echo:terse"]
    unknown = say(replica, "echo:tense")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "adapter_not_found")
    assert "did you mean 'terse'" in unknown.json()["error"]["message"]
    assert say(replica, "other").json()["error"]["code"] == "model_not_found"


def test_adapters_come_and_go_while_it_serves(replica: httpx.Client, root: Path) -> None:
    assert say(replica, "echo:polite").status_code == 404
    loaded = post(replica, "/v1/load_lora_adapter", lora_name="polite", lora_path="polite").json()
    assert loaded == {"object": "adapter", "id": "polite", "loaded": True, "adapters": ["polite", "terse"]}
    assert post(replica, "/v1/load_lora_adapter", lora_name="polite", lora_path=str(root / "polite")).is_success
    assert say(replica, "echo:polite").json()["choices"][0]["text"] == "polite:a polite:b "
    assert post(replica, "/v1/unload_lora_adapter", lora_name="polite").json()["adapters"] == ["terse"]
    assert say(replica, "echo:polite").status_code == 404
    assert post(replica, "/v1/unload_lora_adapter", lora_name="polite").status_code == 404


def test_only_allowed_folders_without_code_are_loaded(replica: httpx.Client, root: Path, tmp_path: Path) -> None:
    for path in ("..", ".", "/", "../elsewhere", "way-out", str(tmp_path / "elsewhere"), "missing", "polite/adapter_config.json"):
        answer = post(replica, "/v1/load_lora_adapter", lora_name="x", lora_path=path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "path_not_allowed"), path
    (root / "polite" / "adapter_model.bin").write_bytes(b"\x80\x04.")
    answer = post(replica, "/v1/load_lora_adapter", lora_name="x", lora_path="polite")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_input")
    assert "pickles" in answer.text or "file type" in answer.text
    for name in ("", "../x", "a b", "x" * 65, None):
        assert post(replica, "/v1/load_lora_adapter", lora_name=name, lora_path="polite").json()["error"]["param"] == "lora_name"
    assert post(replica, "/v1/load_lora_adapter", lora_name="x", path="polite").json()["error"]["code"] == "unknown_field"
    form = replica.post(
        "/v1/load_lora_adapter", content=b'{"lora_name": "x", "lora_path": "polite"}', headers={"content-type": "text/plain"}
    )
    assert form.status_code == 415
    assert replica.get("/v1/load_lora_adapter").status_code == 405


def test_a_replica_whose_adapters_cannot_be_loaded_does_not_start(stage: Stage, tmp_path: Path) -> None:
    process, ready, _ = stage.start_replica("r", "echo", "1", adapters={"x": str(tmp_path / "nothing")})
    assert process.wait(30) == 1
    assert "has no folder" in json.loads(ready.read_bytes())["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_an_engine_that_broke_ends_its_replica_after_the_answer_and_the_gateway_goes_on(stage: Stage, stream: bool) -> None:
    first, second = stage.replica("a"), stage.replica("b")
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with at(first) as client:
        body = {"model": "echo", "prompt": "doom", "stream": stream}
        answer = client.post("/v1/completions", json=body, headers={"traceparent": trace})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_broken")
    assert first.process.wait(20) == 1
    log = first.log.read_text()
    assert "trace 0af7651916cd43dd8448eb211c80319c" in log
    assert "doom" not in log
    gateway = stage.gateway(snapshot_of(1, ("1", 1.0, [first, second])))
    with httpx.Client(base_url=gateway.url, headers={"authorization": f"Bearer {SECRET}"}, trust_env=False) as client:
        for _ in range(4):
            assert say(client, "echo").is_success


def test_a_draining_replica_says_so_and_finishes(stage: Stage) -> None:
    replica = stage.replica("r", settings={"step_s": 0.1})
    with at(replica) as client, at(replica) as watcher:
        watcher.get("/healthz")
        with client.stream("POST", "/v1/completions", json={"model": "echo", "prompt": "a", "max_tokens": 8, "stream": True}) as answer:
            lines = answer.iter_lines()
            next(lines)
            os.kill(replica.process.pid, 15)
            rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
    wait_for(lambda: replica.process.poll() is not None, 10, "the end of the replica")
    assert replica.process.returncode == 0


def test_clients_of_the_gateway_name_the_adapter(stage: Stage, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "given")
    replica = stage.replica("r", adapters={"terse": str(folder)})
    snapshot = snapshot_of(1, ("1", 1.0, [replica]))
    [model] = snapshot.models
    versions = (replace(model.versions[0], adapters=("terse",)),)
    gateway = stage.gateway(replace(snapshot, models=(replace(model, versions=versions),)))
    with httpx.Client(base_url=gateway.url, headers={"authorization": f"Bearer {SECRET}"}, trust_env=False) as client:
        answer = say(client, "echo:terse")
        assert (answer.json()["model"], answer.json()["choices"][0]["text"]) == ("echo:terse", "terse:a terse:b ")
        assert {m["id"] for m in client.get("/v1/models").json()["data"]} == {"echo", "echo:terse"}
        unknown = say(client, "echo:tense")
        assert unknown.status_code == 404
        assert "did you mean 'echo:terse'" in unknown.json()["error"]["message"]
        assert say(client, "echo").json()["model"] == "echo"
