"""The check of a layout: it passes one that is sound, and finds each thing that is done to it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.platforms.image.build import Wish, build
from penstock.platforms.image.check import check
from penstock.testing.images import blob, config, manifest, root_tar, wheel


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sound")
    wheel(place / "wheels", "one", {"one.py": b"x = 1\n"})
    build(Wish((), root_tar(place / "root.tar"), place / "wheels", compiled=False), place / "image")
    return place / "image"


@pytest.fixture
def image(sound: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(sound, tmp_path / "image"))


def put(image: Path, about: Any, made: Any) -> None:
    """Stores a changed manifest, or config, so that every digest fits again."""
    body = manifest(image)
    if made is not None:
        body["config"] = stored(image, body["config"], made)
    body = about(body) if about is not None else body
    index = json.loads((image / "index.json").read_bytes())
    index["manifests"][0] |= stored(image, index["manifests"][0], body)
    (image / "index.json").write_text(json.dumps(index))


def stored(image: Path, old: dict[str, Any], value: Any) -> dict[str, Any]:
    data = json.dumps(value).encode()
    blob(image, old).unlink()
    row = {**old, "digest": f"sha256:{hashlib.sha256(data).hexdigest()}", "size": len(data)}
    blob(image, row).write_bytes(data)
    return row


def in_config(**changes: Any) -> Callable[[Path], None]:
    return lambda image: put(image, None, {**config(image), **changes})


def in_start(**changes: Any) -> Callable[[Path], None]:
    return lambda image: put(image, None, {**config(image), "config": {**config(image)["config"], **changes}})


def in_manifest(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    return lambda image: put(image, change, None)


def in_file(name: str, data: bytes) -> Callable[[Path], object]:
    return lambda image: (image / name).write_bytes(data)


WRONG = {
    "imageLayoutVersion": in_file("oci-layout", b'{"imageLayoutVersion": "2"}'),
    "oci-layout: is not JSON": in_file("oci-layout", b"{"),
    "index.json: must be a JSON object": in_file("index.json", b"[]"),
    "nothing refers to it": in_file("blobs/sha256/" + "0" * 64, b""),
    "GOARCH": in_config(architecture="x86_64"),
    "platform is not that": in_config(os="windows"),
    "created must be": in_config(created="yesterday"),
    "config: unknown": in_config(colour="red"),
    "diff_ids for": in_config(rootfs={"type": "layers", "diff_ids": []}),
    "must have type layers": in_config(rootfs={"type": "files", "diff_ids": []}),
    "history and layers differ": in_config(history=[{"created": "2026-01-01T00:00:00Z"}]),
    "config.Env is of the wrong form": in_start(Env=["PATH"]),
    "config.Entrypoint is of the wrong form": in_start(Entrypoint="penstock"),
    "config.ExposedPorts is of the wrong form": in_start(ExposedPorts=["8080"]),
    "config.Memory is not known": in_start(Memory=1),
    "schemaVersion must be 2": in_manifest(lambda body: {**body, "schemaVersion": 1}),
    "at least one": in_manifest(lambda body: {**body, "layers": []}),
    "annotations must map": in_manifest(lambda body: {**body, "annotations": {"a": 1}}),
    "is no sha256 digest": in_manifest(lambda body: {**body, "layers": [{**body["layers"][0], "digest": "md5:1"}, *body["layers"][1:]]}),
    "does not belong here": in_manifest(
        lambda body: {**body, "layers": [{**body["layers"][0], "mediaType": "text/plain"}, *body["layers"][1:]]}
    ),
    "another digest than its diff_id": in_manifest(
        lambda body: {**body, "layers": [body["layers"][1], body["layers"][0], *body["layers"][2:]]}
    ),
    "its blob is missing": in_manifest(
        lambda body: {**body, "layers": [{**body["layers"][0], "digest": "sha256:" + "1" * 64}, *body["layers"][1:]]}
    ),
    "bytes, its blob has": in_manifest(lambda body: {**body, "layers": [{**body["layers"][0], "size": 1}, *body["layers"][1:]]}),
}


def test_a_sound_one_passes(sound: Path) -> None:
    found = check(sound)
    assert found.problems == []
    assert found.digest.startswith("sha256:")
    assert found.tag


@pytest.mark.parametrize("problem", WRONG)
def test_it_finds(image: Path, problem: str) -> None:
    WRONG[problem](image)
    assert any(problem in one for one in check(image).problems), check(image).problems


def test_bytes_that_changed_are_found(image: Path) -> None:
    layer = blob(image, manifest(image)["layers"][-1])
    data = bytearray(layer.read_bytes())
    data[len(data) // 2] ^= 1
    layer.write_bytes(data)
    assert any("other bytes than its digest" in one for one in check(image).problems)
