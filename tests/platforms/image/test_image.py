"""Images of small parts: the same inputs give the same bytes, and what the platforms count on is in them."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.digests import digest_folder
from penstock.core.errors import ArtifactCorrupt, BadInput
from penstock.platforms.image.build import Baked, Wish, build
from penstock.platforms.image.check import check
from penstock.platforms.image.contract import SITE, Entry, Part
from penstock.platforms.image.layers import complete, pack
from penstock.platforms.image.layout import Built
from penstock.platforms.image.wheels import locked
from penstock.platforms.kubernetes.pods import Container, pod_spec
from penstock.platforms.remote.baked import baked
from penstock.platforms.remote.machines import Machine
from penstock.spec.platforms.kubernetes import KubernetesPlatform
from penstock.store.artifacts import Artifacts
from penstock.testing.images import blob, config, laid_out, lock_of, manifest, members, root_tar, wheel

POINTS = "[console_scripts]\ngreet = greeting.main:say\n[other]\nx = y:z\n"
CODE = b"def say():\n    print('hello', {'a', 'b', 'c'})\n"


def small(folder: Path) -> Wish:
    """Two wheels on a root that is a tar; no bytecode, which has a test of its own."""
    wheels = folder / "wheels"
    wheel(wheels, "greeting", {"greeting/__init__.py": b"", "greeting/main.py": CODE}, points=POINTS)
    wheel(wheels, "tool", {"tool-1.0.data/scripts/tool.sh": b"#!/bin/sh\n", "tool-1.0.data/purelib/tool.py": b"x = 1\n"})
    base = root_tar(folder / "root.tar")
    return Wish((), base, wheels, lock_of(wheels, folder / "lock.txt"), compiled=False)


@pytest.fixture
def wish(tmp_path: Path) -> Wish:
    return small(tmp_path)


@dataclass(frozen=True)
class Made:
    """An image of `wish` in `layout`, and what a container sees of it. Tests leave it as it is."""

    wish: Wish
    built: Built
    layout: Path
    root: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    place = tmp_path_factory.mktemp("made")
    built = build(small(place), place / "image")
    return Made(small(place), built, place / "image", laid_out(place / "image", place / "root"))


def test_the_same_inputs_give_the_same_bytes(wish: Wish, tmp_path: Path) -> None:
    first = build(wish, tmp_path / "one")
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(tmp_path / "wheels", elsewhere)
    for file in elsewhere.iterdir():
        os.utime(file, (1, 1))
    before = os.umask(0o077)
    try:
        second = build(replace(wish, wheels=elsewhere), tmp_path / "two")
    finally:
        os.umask(before)
    assert first.digest == second.digest
    assert digest_folder(tmp_path / "one") == digest_folder(tmp_path / "two")
    assert check(tmp_path / "one").problems == []
    assert check(tmp_path / "one").digest == first.digest
    assert first.size == sum(path.stat().st_size for path in (tmp_path / "one" / "blobs").rglob("*") if path.is_file())


def test_what_changes_is_one_layer(wish: Wish, tmp_path: Path) -> None:
    first = build(wish, tmp_path / "one")
    wheel(tmp_path / "wheels", "greeting", {"greeting/__init__.py": b"", "greeting/main.py": CODE + b"\n"}, points=POINTS)
    with pytest.raises(ArtifactCorrupt, match="other bytes than lock"):
        build(wish, tmp_path / "two")
    second = build(replace(wish, lock=None), tmp_path / "two")
    same = [one.digest == other.digest for one, other in zip(first.layers, second.layers, strict=True)]
    assert same == [True, False, True]
    assert build(replace(wish, lock=None, created=86400), tmp_path / "three").digest != second.digest


def test_what_kubernetes_and_hosting_rely_on(made: Made) -> None:
    about = config(made.layout)["config"]
    variables = dict(pair.split("=", 1) for pair in about["Env"])
    pod = pod_spec(Container("c", ("penstock",)), Machine("any", 1.0, 1 << 30), False, KubernetesPlatform(kind="kubernetes", image="i"))
    user = pod["securityContext"]["runAsUser"]
    assert about["User"] == f"{user}:{pod['securityContext']['runAsGroup']}"
    given = {row["name"]: row["value"] for row in pod["containers"][0]["env"]}
    assert {name: variables[name] for name in given} == given
    work = next(mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "work")
    assert about["WorkingDir"] == work
    assert (about["Entrypoint"], about["Cmd"]) == (["penstock"], ["serve"])
    held = members(made.layout, 2)
    assert (held[work.lstrip("/")].uid, held["opt/penstock/bin/penstock"].mode & 0o777) == (user, 0o755)
    assert f"penstock:x:{user}:{user}:" in (made.root / "etc/passwd").read_text()
    assert (made.root / "etc/passwd").read_text().startswith("root:x:0:0::/root:/bin/sh\n")
    writable = {name for layer in (1, 2) for name, one in members(made.layout, layer).items() if one.uid == user}
    assert writable == {work.lstrip("/")}


def test_wheels_are_unpacked_as_pip_would(made: Made) -> None:
    root = made.root
    assert (root / SITE / "greeting" / "main.py").read_bytes() == CODE
    assert (root / SITE / "tool.py").read_text() == "x = 1\n"
    assert (root / "opt/penstock/bin/tool.sh").read_text() == "#!/bin/sh\n"
    assert (root / "opt/penstock/bin/greet").read_text().startswith("#!/opt/penstock/bin/python\n")
    assert "from greeting.main import say" in (root / "opt/penstock/bin/greet").read_text()
    assert os.readlink(root / "opt/penstock/bin/python") == next(f"/{name}" for name in members_of_base(root))
    assert not list(root.rglob("RECORD"))
    assert "home = /usr/local/bin" in (root / "opt/penstock/pyvenv.cfg").read_text()


def members_of_base(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in (root / "usr/local/bin").iterdir()]


def test_wheels_that_do_not_belong_are_refused(wish: Wish, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheel(wheels, "extra", {"extra.py": b""})
    with pytest.raises(BadInput, match=r"unknown \['extra'\]"):
        build(wish, tmp_path / "image")
    other = wheel(wheels, "extra", {"extra.py": b""}, tag="cp27-cp27m-win32")
    with pytest.raises(BadInput, match="two wheels of extra"):
        build(replace(wish, lock=None), tmp_path / "image")
    (wheels / "extra-1.0-py3-none-any.whl").unlink()
    with pytest.raises(BadInput, match="not for this Python"):
        build(replace(wish, lock=None), tmp_path / "image")
    other.unlink()
    wheel(wheels, "extra", {"../../escape.py": b""})
    with pytest.raises(BadInput, match="leads out"):
        build(replace(wish, lock=None), tmp_path / "image")
    assert not (tmp_path / "image").exists()
    (tmp_path / "bad.txt").write_text("greeting==1.0\n")
    with pytest.raises(BadInput, match="hash"):
        locked(tmp_path / "bad.txt")


def test_an_image_is_a_base(made: Made, tmp_path: Path) -> None:
    first, wish = made.built, made.wish
    assert config(made.layout)["history"][0]["created_by"] == "root file system given"
    second = build(replace(wish, base=made.layout), tmp_path / "second.tar")
    with tarfile.open(tmp_path / "second.tar") as tar:
        tar.extractall(tmp_path / "second", filter="data")
    assert check(tmp_path / "second").problems == []
    assert [layer.digest for layer in second.layers[: len(first.layers)]] == [layer.digest for layer in first.layers]
    assert manifest(tmp_path / "second")["annotations"]["org.opencontainers.image.base.digest"] == first.digest
    # The tar of a layout is a base as its folder is.
    archived = build(wish, tmp_path / "first.tar")
    assert archived.digest == first.digest
    assert build(replace(wish, base=tmp_path / "first.tar"), tmp_path / "third").digest == second.digest


def test_bases_that_do_not_fit_are_refused(made: Made, tmp_path: Path) -> None:
    wish = made.wish
    shutil.copytree(made.layout, tmp_path / "good")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="no OCI image layout"):
        build(replace(wish, base=tmp_path / "empty"), tmp_path / "image")
    (tmp_path / "text.tar").write_text("no tar")
    with pytest.raises(BadInput, match="neither an OCI layout nor a tar"):
        build(replace(wish, base=tmp_path / "text.tar"), tmp_path / "image")
    bare = tmp_path / "bare.tar"
    with tarfile.open(bare, "w") as tar:
        tar.addfile(tarfile.TarInfo("etc"))
    with pytest.raises(BadInput, match="has no python3"):
        build(replace(wish, base=bare), tmp_path / "image")
    damaged = blob(tmp_path / "good", manifest(tmp_path / "good")["layers"][1])
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    with pytest.raises(ArtifactCorrupt, match="other bytes"):
        build(replace(wish, base=tmp_path / "good"), tmp_path / "image")


def test_other_folders_are_left_alone(wish: Wish, made: Made, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "work.txt").write_text("kept")
    with pytest.raises(BadInput, match="other things"):
        build(wish, mine)
    assert (mine / "work.txt").read_text() == "kept"
    shutil.copytree(made.layout, tmp_path / "image")
    (tmp_path / "image" / "blobs" / "sha256" / "stray").write_text("old")
    assert check(tmp_path / "image").problems
    build(wish, tmp_path / "image")
    assert check(tmp_path / "image").problems == []


def test_a_bundle_in_the_image_is_served_from_where_it_lies(wish: Wish, tmp_path: Path) -> None:
    source = tmp_path / "bundle"
    (source / "inner").mkdir(parents=True)
    (source / "inner" / "weights.xml").write_text("weights")
    artifacts = Artifacts(str(tmp_path / "store"), tmp_path / "cache")
    made = artifacts.commit(source, "bundle", {})
    build(replace(wish, baked=Baked(made.digest, source, made.data, "intents", "3")), tmp_path / "image")
    told = json.loads(dict(pair.split("=", 1) for pair in config(tmp_path / "image")["config"]["Env"])["PENSTOCK_SERVING"])
    root = laid_out(tmp_path / "image", tmp_path / "root")
    place = root / told["folder"].lstrip("/")
    assert told["bundle"] == made.digest
    assert (baked(place, made.digest) / "inner" / "weights.xml").read_text() == "weights"
    with pytest.raises(ArtifactCorrupt, match="holds the bundle"):
        baked(place, "sha256:" + "0" * 64)
    (place / "files" / "inner" / "weights.xml").write_text("others")
    with pytest.raises(ArtifactCorrupt, match=r"inner/weights\.xml"):
        baked(place, made.digest)


@given(st.dictionaries(st.from_regex(r"[a-z]{1,3}(/[a-z]{1,3}){0,2}\.x", fullmatch=True), st.binary(max_size=40), min_size=1), st.randoms())
def test_order_does_not_count(tmp_path_factory: pytest.TempPathFactory, contents: dict[str, bytes], random: object) -> None:
    entries = [Entry(name, data) for name, data in contents.items()]
    mixed = list(entries)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    beside = tmp_path_factory.mktemp("layers")
    assert pack(Part("a", entries, ""), 0, beside).digest == pack(Part("b", mixed, ""), 0, beside).digest


def test_paths_that_clash_or_lead_out_are_refused() -> None:
    assert [entry.path for entry in complete([Entry("a/b/c", b"1"), Entry("a/b/c", b"1")])] == ["a", "a/b", "a/b/c"]
    with pytest.raises(BadInput, match="different bytes"):
        complete([Entry("a", b"1"), Entry("a", b"2")])
    for path in ("/a", "../a", "a/../b", "a//b", "a/"):
        with pytest.raises(BadInput, match="cannot be a path"):
            complete([Entry(path, b"")])
