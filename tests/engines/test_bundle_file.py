"""A bundle is opened only when its files are the ones it names, and none can carry code."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from penstock.core.digests import digest_file, files_under
from penstock.core.errors import ArtifactCorrupt, ArtifactMissing, BadInput, PenstockError
from penstock.engines.bundle_file import NAME, BundleFile, read_bundle, verify_bundle
from penstock.engines.openvino_decoder import DecoderSettings
from penstock.engines.settings import settings_of
from penstock.engines.table import open_engine


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("config.json", "openvino_model.xml", "openvino_model.bin"):
        (tmp_path / name).write_bytes(b"{}")
    return described(tmp_path)


def described(folder: Path, **changes: object) -> Path:
    files = {path.name: digest_file(path) for path in files_under(folder) if path.name != NAME}
    bundle = BundleFile("b", "text-classification", "openvino-encoder", "f32", 64, ("a", "b"), files, {"model": "sha256:" + "0" * 64})
    (folder / NAME).write_bytes(json.dumps({**json.loads(bundle.data()), **changes}).encode())
    return folder


def test_what_is_written_reads_back(folder: Path) -> None:
    bundle = read_bundle(folder)
    verify_bundle(folder, bundle)
    assert (bundle.labels, bundle.max_length, sorted(bundle.files)) == (
        ("a", "b"),
        64,
        ["config.json", "openvino_model.bin", "openvino_model.xml"],
    )


@pytest.mark.parametrize("damage", ["changed", "missing", "added"])
def test_damage_is_named(folder: Path, damage: str) -> None:
    victim = folder / ("new.json" if damage == "added" else "openvino_model.bin")
    victim.unlink(missing_ok=True)
    if damage != "missing":
        victim.write_bytes(b"{ }")
    with pytest.raises(ArtifactCorrupt, match=victim.name):
        open_engine(folder)


@pytest.mark.parametrize("name", ["model.pkl", "model.pt", "pytorch_model.bin", "code.py", "libevil.so"])
def test_files_that_may_carry_code_are_refused(folder: Path, name: str) -> None:
    (folder / name).write_bytes(pickle.dumps({"weights": 1}))
    described(folder)
    with pytest.raises(BadInput, match=name):
        open_engine(folder)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"{}", b'"x"', b"\xff\xfe"])
def test_a_description_that_does_not_read_is_corrupt(folder: Path, text: bytes) -> None:
    (folder / NAME).write_bytes(text)
    with pytest.raises(ArtifactCorrupt):
        open_engine(folder)


def test_no_description_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(ArtifactMissing, match=r"bundle\.json"):
        open_engine(tmp_path)


@pytest.mark.parametrize(("changes", "said"), [({"schema": 99}, "99"), ({"engine": "openvino-encodr"}, "openvino-encoder")])
def test_what_is_not_known_is_named(folder: Path, changes: dict[str, object], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        open_engine(described(folder, **changes))


@pytest.mark.parametrize("given", [{"threds": 2}, {"threads": "2"}, {"prefix_cache": 1}])
def test_settings_are_checked(given: dict[str, object]) -> None:
    with pytest.raises(BadInput, match=next(iter(given))[:5]):
        settings_of(DecoderSettings, given, "openvino-decoder")


def test_graphs_that_do_not_read_are_corrupt(folder: Path) -> None:
    with pytest.raises(PenstockError) as caught:
        open_engine(folder)
    assert isinstance(caught.value, ArtifactCorrupt)
