"""`penstock image` and `penstock export function`: what they print, what they write, what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from penstock.store.store import Store
from penstock.testing.images import config, lock_of, root_tar, wheel


@pytest.fixture
def parts(folder: Path) -> Path:
    """A base and wheels with their lock, small."""
    wheel(folder / "wheels", "one", {"one.py": b"x = 1\n"})
    lock_of(folder / "wheels", folder / "lock.txt")
    return root_tar(folder / "root.tar")


@pytest.fixture
def model(folder: Path, store: Store) -> str:
    """A version whose bundle lies in the store; its digest."""
    (folder / "bundle").mkdir()
    (folder / "bundle" / "bundle.json").write_text("{}")
    digest = store.artifacts.commit(folder / "bundle", "bundle", {}).digest
    store.registry.register("intents", digest, run="r", task="text-classification", metrics={}, gates=[], facts={})
    return digest


FROM = ("--base", "root.tar", "--wheels", "wheels", "--lock", "lock.txt")


@pytest.mark.usefixtures("parts")
def test_build_and_check(call, folder: Path, model: str) -> None:
    planned = call("image", "build", *FROM, "--dry-run", "--json").json
    assert [row["layer"] for row in planned["layers"]] == ["base", "packages", "penstock"]
    assert planned["layers"][1]["holds"] == "wheels of lock.txt"
    assert planned["unpacked"] == sum(row["unpacked"] for row in planned["layers"])
    assert not (folder / "image").exists()
    made = call("image", "build", *FROM, "--bundle", "intents:1", "--tag", "here", "--json").json
    assert [row["holds"].split()[0] for row in made["layers"]] == ["root", "wheels", "penstock", "bundle"]
    found = call("image", "check", "image", "--json").json
    assert (found["digest"], found["tag"], found["problems"]) == (made["digest"], "here", [])
    told = dict(pair.split("=", 1) for pair in config(folder / "image")["config"]["Env"])
    assert json.loads(told["PENSTOCK_SERVING"]) == {"bundle": model, "folder": "/opt/bundle", "model": "intents", "version": "1"}
    assert call("image", "check", "image").out.startswith(f"sound: {made['digest']}")
    (folder / "image" / "oci-layout").unlink()
    broken = call("image", "check", "image")
    assert (broken.code, broken.out.splitlines()[0]) == (1, "oci-layout: the file is missing")


@pytest.mark.usefixtures("parts")
def test_what_is_wrong_is_said(call, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "needs --wheels" in call("image", "build", "--lock", "lock.txt", "--json").error["message"]
    assert "did you mean 'serve'" in call("image", "build", "--extras", "sreve", "--dry-run", "--json").error["message"]
    assert call("image", "build", *FROM, "--bundle", "nothing", "--json").error["code"] == "not-found"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "today")
    assert "counts seconds" in call("image", "build", *FROM, "--json").error["message"]


def test_a_function(call, folder: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ("export", "function", "intents:1", "--image", "registry.example/p@sha256:1")
    refused = call(*asked, "--json").error
    assert "lies on this machine" in refused["message"]
    assert "--bundled" in refused["remedy"]
    bundled = call(*asked, "--bundled", "--for", "lambda", "--role", "arn:aws:iam::123456789012:role/p", "--out", "f.json", "--json").json
    assert json.loads((folder / "f.json").read_text()) == bundled["function"]
    assert "PENSTOCK_SERVING" not in bundled["function"]["Environment"]["Variables"]
    assert call(*asked, "--bundled").out.startswith("apiVersion: serving.knative.dev/v1\nkind: Service\n")
    monkeypatch.setenv("PENSTOCK_DATABASE", f"sqlite:///{folder / '.penstock' / 'penstock.db'}")
    monkeypatch.setenv("PENSTOCK_ARTIFACTS", "memory://bucket/penstock")
    [one] = call(*asked, "--for", "cloud-run", "--json").json["function"]["spec"]["template"]["spec"]["containers"]
    told = {row["name"]: row["value"] for row in one["env"]}
    assert told["PENSTOCK_ARTIFACTS"] == "memory://bucket/penstock"
    assert json.loads(told["PENSTOCK_SERVING"])["bundle"] == model
    assert "choose from knative" in call(*asked, "--for", "heroku", "--json").error["message"]
    assert "not a size" in call(*asked, "--bundled", "--memory", "lots", "--json").error["message"]


def test_the_gateway_alone_says_what_it_lacks(call) -> None:
    assert call("gateway", "--tls-cert", "cert.pem", "--port", "0").code == 2
