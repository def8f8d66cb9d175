"""The image of this machine's Python and Penstock without extras, laid out and started: a real job, a real replica.

As root it is a root of its own, read-only as under Kubernetes, and the user is the image's; else this Python with the image's packages.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import httpx
import pytest

import penstock
from penstock.core.home import Home
from penstock.platforms.image.build import Wish, build
from penstock.platforms.image.check import check
from penstock.platforms.image.contract import SITE
from penstock.platforms.jobs_codec import publish
from penstock.platforms.remote.container import USER
from penstock.store.artifacts import Artifacts
from penstock.testing.images import can_enter, config, enter, laid_out
from penstock.testing.jobs_suite import until, user_job
from penstock.testing.serving import ECHO

OWN_ROOT = can_enter()


@dataclass(frozen=True, slots=True)
class Container:
    """An image laid out in `root`. Only what a container may write to belongs to its user."""

    root: Path
    about: Mapping[str, object]

    @property
    def work(self) -> Path:
        return self.root / "work"

    def inside(self, path: Path) -> Path:
        """The path as the container sees it."""
        return Path("/", path.relative_to(self.root)) if OWN_ROOT else path

    def start(self, arguments: Sequence[str], environ: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        given = dict(pair.split("=", 1) for pair in self.about["Env"])  # type: ignore[attr-defined]
        command = [f"/{SITE.partition('/lib/')[0]}/bin/penstock", *arguments]
        if OWN_ROOT:
            environment = {**given, **(environ or {})}
            return subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=partial(enter, self.root, USER)
            )
        places = {name: str(self.root / given[name].lstrip("/")) for name in ("HOME", "PENSTOCK_HOME", "XDG_CACHE_HOME")}
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONDONTWRITEBYTECODE": "1",
            **places,
            "PYTHONPATH": str(self.root / SITE),
            **(environ or {}),
        }
        command = [sys.executable, "-S", "-s", str(self.root / command[0].lstrip("/")), *arguments]
        return subprocess.Popen(command, env=environment, cwd=self.work, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, *arguments: str, environ: Mapping[str, str] | None = None) -> str:
        out, err = self.start(arguments, environ).communicate(timeout=120)
        assert out, err.decode()
        return out.decode()


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    place = tmp_path_factory.mktemp("image")
    build(Wish(compiled=False, level=1), place / "layout")
    assert check(place / "layout").problems == []
    about = config(place / "layout")["config"]
    root = laid_out(place / "layout", place / "root")
    shutil.rmtree(place / "layout")
    yield Container(root, about)
    shutil.rmtree(root)


def own(path: Path) -> None:
    for one in (path, *path.rglob("*")):
        os.chown(one, USER if OWN_ROOT else -1, USER if OWN_ROOT else -1)


def test_it_starts(container: Container) -> None:
    assert container.run("--version") == f"penstock {penstock.__version__}\n"


def test_nothing_else_can_be_written_to_while_it_runs(container: Container) -> None:
    if not OWN_ROOT:
        pytest.skip("needs the right to mount")
    places = "/", "/etc", "/opt/penstock", "/work", "/tmp"
    script = f"import os; print([os.access(place, os.W_OK) for place in {places}], os.geteuid())"
    process = subprocess.run(
        ["/opt/penstock/bin/python", "-c", script], capture_output=True, text=True, preexec_fn=partial(enter, container.root, USER)
    )
    assert process.stdout == f"[False, False, False, True, True] {USER}\n"


def test_only_its_own_folders_can_be_written_to(container: Container) -> None:
    strangers = {USER, 0}
    open_ = []
    for path in container.root.rglob("*"):
        about = path.lstat()
        assert not OWN_ROOT or about.st_uid in strangers
        if not path.is_symlink() and (about.st_uid == USER or about.st_mode & 0o002):
            open_.append(path.relative_to(container.root).as_posix())
    assert sorted(one for one in open_ if not one.startswith("work/")) == ["tmp", "work"] if OWN_ROOT else ["tmp"]


def test_no_path_of_this_machine_is_in_penstocks_own_files(container: Container) -> None:
    here = str(Path(penstock.__file__).parent).encode()
    texts = [path for path in (container.root / SITE).rglob("*") if path.suffix in (".py", ".txt") or path.name == "METADATA"]
    assert len(texts) > 500
    assert not [path for path in texts if here in path.read_bytes() and "penstock" in path.parts[-2]]


def test_a_job_runs_in_it(container: Container) -> None:
    home = Home.find(container.work / "outside", {})
    artifacts = Artifacts(str(container.work / "store"), home.cache)
    code = container.work / "code"
    job = replace(user_job(code, "write", {"text": "hello"}), code_path=(str(container.inside(code)),))
    uri = publish(job, artifacts, str(container.inside(container.work / "store")))
    own(container.work)
    told = json.loads(container.run("exec", uri, "--json"))
    [(name, digest)] = told["outputs"].items()
    assert name == "made"
    assert (Artifacts(str(container.work / "store"), home.cache).materialize(digest) / "text.txt").read_text() == "hello"


def test_a_replica_answers_and_drains_in_it(container: Container) -> None:
    artifacts = Artifacts(str(container.work / "store"), container.work / "cache-outside")
    bundle = container.work / "bundle"
    bundle.mkdir()
    (bundle / "bundle.json").write_text("{}")
    digest = artifacts.commit(bundle, "bundle", {}).digest
    own(container.work)
    more = {"engine_class": ECHO, "settings": {"task": "text-classification"}}
    environ = {"PENSTOCK_ARTIFACTS": str(container.inside(container.work / "store")), "PENSTOCK_REPLICA": json.dumps(more)}
    process = container.start(["replica", digest, "--model", "intents", "--version", "7", "--name", "r"], environ)
    ready = container.work / "penstock" / "replicas" / "intents" / "r" / "ready.json"
    try:
        until(lambda: ready.exists() or process.poll() is not None, 120)
        assert ready.exists(), process.communicate()[1].decode()
        port = json.loads(ready.read_bytes())["port"]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
            answer = client.post("/v1/classify", json={"model": "intents", "input": "where is my card"})
            assert answer.json()["data"][0]["label"] in ("billing", "cards", "transfers")
            assert answer.headers["x-penstock-version"] == "7"
            assert client.get("/healthz").json()["digest"] == digest
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()
