"""Adapters that a deployment names: what each name stands for, and what is refused before anything changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from penstock.control.adapters import check_adapters, keep_adapters, locate_adapters
from penstock.core.digests import digest_file, files_under
from penstock.core.errors import ArtifactMissing, BadInput, GateRefused, NotFound
from penstock.core.home import Home
from penstock.engines.bundle_file import BundleFile
from penstock.engines.lora import weights_digest
from penstock.engines.table import ADAPTING, ENGINES
from penstock.serving.adapters import NAME
from penstock.spec import deploy
from penstock.store.store import Store

GRAPH = """<net><layers>
<layer id="1" name="__module.model.layers.0.self_attn.q_proj/aten::linear/MatMul" type="MatMul">
<input><port id="0"><dim>-1</dim><dim>-1</dim><dim>8</dim></port></input>
<output><port id="2"><dim>-1</dim><dim>-1</dim><dim>6</dim></port></output>
</layer></layers></net>"""
MODULE = "base_model.model.model.layers.0.self_attn.q_proj"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store.open(Home.find(tmp_path / "state", {}))
    yield made
    made.close()


def peft(folder: Path, *, sizes: tuple[int, int] = (8, 6), rank: int = 2, **config: Any) -> Path:
    """An adapter's files, with some that are not the adapter's."""
    folder.mkdir(parents=True)
    known = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "base_model_name_or_path": "/some/where", **config}
    (folder / "adapter_config.json").write_text(json.dumps(known))
    (folder / "optimizer.pt").write_bytes(b"pickle")
    given, out = sizes
    pairs = {"lora_A": np.ones((rank, given), np.float32), "lora_B": np.ones((out, rank), np.float32)}
    save_file({f"{MODULE}.{kind}.weight": value for kind, value in pairs.items()}, folder / "adapter_model.safetensors")
    return folder


def model(store: Store, folder: Path, *, adapter: Path | None, weights: bytes = b"weights") -> str:
    """Digest of a model's artifact."""
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(weights)
    if adapter is not None:
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            (folder / "adapter").mkdir(exist_ok=True)
            (folder / "adapter" / name).write_bytes((adapter / name).read_bytes())
    return store.artifacts.commit(folder, "model", {}).digest


def bundle(store: Store, folder: Path, made_from: str, engine: str = "openvino-decoder") -> str:
    folder.mkdir()
    (folder / "openvino_model.xml").write_text(GRAPH)
    files = {path.relative_to(folder).as_posix(): digest_file(path) for path in files_under(folder)}
    (folder / "bundle.json").write_bytes(BundleFile("m", "text-generation", engine, "f32", 8, (), files, {"model": made_from}).data())
    return store.artifacts.commit(folder, "bundle", {}).digest


def register(store: Store, name: str, digest: str, **facts: str) -> None:
    store.registry.register(name, digest, run="run-1", task="text-generation", metrics={}, gates=[], facts=facts)


def test_every_way_of_naming_one_gives_the_same_artifact(store: Store, tmp_path: Path) -> None:
    folder = peft(tmp_path / "legal")
    register(store, "legal", "sha256:" + "1" * 64, **{"train.model": model(store, tmp_path / "model", adapter=folder)})
    store.registry.set_alias("legal", "champion", 1, "test")
    located = locate_adapters({"a": "legal", "b": "registry:legal", "c": "registry:legal@1"}, tmp_path, store)
    (digest,) = {one.digest for one in located.values()}
    assert not store.artifacts.has(digest), "looking wrote something"
    rows = keep_adapters(located, store)
    assert rows["b"] == {"digest": digest, "from": "registry:legal@1", "base": None}
    assert [entry.path for entry in store.artifacts.manifest(digest).files] == ["adapter_config.json", "adapter_model.safetensors"]
    (by_digest,) = keep_adapters(locate_adapters({"d": digest}, tmp_path, store), store).values()
    assert by_digest["digest"] == digest


def test_what_is_not_there_is_said_with_its_name(store: Store, tmp_path: Path) -> None:
    peft(tmp_path / "dora", use_dora=True)
    plain = model(store, tmp_path / "model", adapter=None)
    register(store, "plain", "sha256:" + "1" * 64, **{"train.model": plain})
    register(store, "poor", "sha256:" + "2" * 64)
    store.registry.set_state("poor", 1, "refused")
    for source, kind, said in (
        ("nowhere", BadInput, f"adapter 'x' (nowhere): there is no folder {tmp_path}/nowhere"),
        ("dora", BadInput, "has use_dora, which cannot be served"),
        (".", BadInput, "holds no adapter_config.json"),
        ("registry:nobody", NotFound, "no model is called 'nobody'"),
        ("registry:plain", NotFound, "has no alias 'champion'"),
        ("registry:plain@1", BadInput, "plain:1 has no adapter"),
        ("registry:poor@1", GateRefused, "was refused by its gates"),
        ("sha256:" + "0" * 64, ArtifactMissing, "no artifact sha256:000"),
        (plain, BadInput, "the artifact is a model, not an adapter"),
        ("sha256:12", BadInput, "is not an artifact digest"),
    ):
        with pytest.raises(kind) as refused:
            locate_adapters({"x": source}, tmp_path, store)
        assert said in refused.value.message
        assert "adapter 'x'" in refused.value.message
    with pytest.raises(BadInput, match="cannot name an adapter"):
        locate_adapters({"a/b": "."}, tmp_path, store)


def test_only_what_stands_on_the_served_base_passes(store: Store, tmp_path: Path) -> None:
    served = bundle(store, tmp_path / "bundle", model(store, tmp_path / "model", adapter=None))
    base = weights_digest({"model.safetensors": digest_file(tmp_path / "model" / "model.safetensors")})
    other = weights_digest({"model.safetensors": "sha256:" + "3" * 64})
    peft(tmp_path / "told", base_model_name_or_path=base)
    peft(tmp_path / "untold")
    peft(tmp_path / "foreign", base_model_name_or_path=other)
    peft(tmp_path / "wide", sizes=(9, 6))
    rows = {name: keep_adapters(locate_adapters({name: name}, tmp_path, store), store) for name in ("told", "untold", "foreign", "wide")}
    assert (rows["told"]["told"]["base"], rows["untold"]["untold"]["base"]) == (base, None)
    check_adapters({**rows["told"], **rows["untold"]}, served, "m:1", store)
    with pytest.raises(BadInput, match=r"adapter 'foreign' \(foreign\): it was trained on other weights .* than m:1 has"):
        check_adapters(rows["told"] | rows["foreign"], served, "m:1", store)
    with pytest.raises(BadInput, match=r"adapter 'wide' .*q_proj is \(6, 2\) by \(2, 9\), which does not fit the model's 6 by 8"):
        check_adapters(rows["wide"], served, "m:1", store)
    peft(tmp_path / "ranks", rank=3)
    with pytest.raises(BadInput, match=r"says rank 2, but its .*q_proj is \(6, 3\) by \(3, 8\)"):
        locate_adapters({"ranks": "ranks"}, tmp_path, store)
    imported = bundle(store, tmp_path / "imported", "sha256:" + "5" * 64)  # made from a model that the store does not have
    check_adapters(rows["foreign"], imported, "m:2", store)
    encoder = bundle(store, tmp_path / "encoder", "sha256:" + "5" * 64, "openvino-encoder")
    with pytest.raises(BadInput, match="m:3 is served by the engine openvino-encoder, which takes no adapters"):
        check_adapters(rows["told"], encoder, "m:3", store)
    check_adapters({}, "sha256:" + "6" * 64, "m:4", store)


def test_a_name_is_the_same_in_the_file_and_in_the_replica() -> None:
    assert NAME.pattern == deploy._ADAPTER


def test_the_engines_that_take_adapters_are_named() -> None:
    assert sorted(ADAPTING) == [name for name in sorted(ENGINES.names()) if hasattr(ENGINES.load(name), "load_adapter")]
