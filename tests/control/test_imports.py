"""Versions that no run made: registered, deployed for real, and answering through the gateway."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.core.errors import ArtifactCorrupt, BadInput, UpstreamRefused
from penstock.core.home import Home
from penstock.testing.serving import Stage
from penstock.testing.small_models import packaged_minilm


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path / "home"))
    home = Home.find()
    yield home
    penstock("down")


def penstock(*words: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-m", "penstock", *words, "--json"], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    value: dict[str, Any] = json.loads(done.stdout)
    return value


@contextlib.contextmanager
def served(name: str) -> Iterator[httpx.Client]:
    """A client of the gateway in front of deployment `name`, which is made first."""
    url = penstock("deploy", name, "1")["url"]
    key = penstock("keys", "create", "test")["key"]
    with httpx.Client(base_url=url, headers={"authorization": f"Bearer {key}"}, trust_env=False, timeout=30) as client:
        assert client.get("/v1/models").status_code == 200  # a key is in force once it was printed
        yield client
        penstock("keys", "revoke", "test")
        assert client.get("/v1/models").status_code == 401


@pytest.mark.usefixtures("home")
def test_a_model_server_is_served_like_a_version(tmp_path: Path) -> None:
    with Stage(tmp_path / "server") as stage:
        there = stage.replica("there", "echo")
        url = f"http://{there.route.host}:{there.route.port}/v1"
        made = penstock("models", "import", "assistant", "--url", url)
        assert made["facts"]["server_model"] == "echo"
        with served("assistant") as client:
            ask = {"model": "assistant", "prompt": "one two", "max_tokens": 3, "seed": 7}
            answer = client.post("/v1/completions", json=ask).json()
            assert answer["choices"][0]["text"].split() == ["one", "two", "one"]
            assert answer["model"] == "assistant"
            assert answer["usage"]["completion_tokens"] == 3
            with client.stream("POST", "/v1/completions", json={**ask, "stream": True}) as stream:
                lines = [line for line in stream.iter_lines() if line]
            assert lines[-1] == "data: [DONE]"
            assert all(json.loads(line[6:])["model"] == "assistant" for line in lines[:-1])
            refused = client.post("/v1/completions", json={**ask, "prompt": "x\x00y"})
            assert refused.status_code == 400
            assert "NUL character" in refused.json()["error"]["message"]
            assert client.post("/v1/completions", json={**ask, "prompt": "boom"}).status_code in (502, 503)
            there.stop()
            assert client.post("/v1/completions", json=ask).status_code in (502, 503)


@pytest.mark.models
@pytest.mark.usefixtures("home")
def test_a_sentence_encoder_is_made_and_served() -> None:
    if packaged_minilm() is None:
        pytest.skip("the package that carries MiniLM is not installed")
    made = penstock("models", "import", "sentences", "--embed", "minilm")
    assert (made["task"], made["facts"]["dimensions"]) == ("embedding", 384)
    assert made["facts"]["cosine"] > 0.9999
    with served("sentences") as client:
        texts = ["The cat sits on the mat.", "A cat is sitting on a mat.", "Interest rates rose again."]
        data = client.post("/v1/embeddings", json={"model": "sentences", "input": texts}).json()["data"]
        one, same, other = (row["embedding"] for row in data)
        assert dot(one, one) == pytest.approx(1.0, abs=1e-4)
        assert dot(one, same) > 0.8 > 0.4 > dot(one, other)
        short = client.post("/v1/embeddings", json={"model": "sentences", "input": texts[0], "dimensions": 64}).json()["data"][0][
            "embedding"
        ]
        assert len(short) == 64
        assert dot(short, short) == pytest.approx(1.0, abs=1e-4)
        assert dot(short, one[:64]) == pytest.approx(dot(one[:64], one[:64]) ** 0.5, abs=1e-3)
        ids = [101, 1996, 4937, 7719, 2006, 1996, 13523, 1012, 102]  # the first text, by the model's own tokenizer
        by_id = client.post("/v1/embeddings", json={"model": "sentences", "input": ids}).json()["data"][0]["embedding"]
        assert dot(by_id, one) == pytest.approx(1.0, abs=1e-4)
        for wrong in ({"dimensions": 385}, {"input": [[101, 99_999_999]]}):
            refused = client.post("/v1/embeddings", json={"model": "sentences", "input": "x", **wrong})
            assert refused.status_code == 400, refused.text


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_what_cannot_be_imported_is_told(home: Home, tmp_path: Path) -> None:
    from penstock.control.imports import import_bundle, import_server
    from penstock.store.store import Store

    store = Store.open(home)
    try:
        given: dict[str, Any] = {"model": "m", "key": None, "task": "text-generation", "principal": "test"}
        with pytest.raises(BadInput, match="not the address"):
            import_server(store, "x", "ftp://somewhere", **given)
        with pytest.raises(BadInput, match="holds a password"):
            import_server(store, "x", "http://me:secret@127.0.0.1:1/v1", **given)
        with pytest.raises(BadInput, match="must be a reference"):
            import_server(store, "x", "http://127.0.0.1:1/v1", **{**given, "key": "sk-plain"})
        with pytest.raises(UpstreamRefused, match="cannot be reached"):
            import_server(store, "x", "http://127.0.0.1:1/v1", **given)
        (tmp_path / "bundle.json").write_text("{}")
        with pytest.raises(ArtifactCorrupt):
            import_bundle(store, "x", tmp_path, principal="test")
        assert store.registry.models() == []
    finally:
        store.close()
