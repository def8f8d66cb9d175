"""`make container`: the image built both ways, pushed to a real registry, pulled from there and started; prints a table.

Usage: python tools/container.py [--base IMAGE]. The Dockerfile by buildah, in chroots, so that no daemon is needed; and
`penstock image build` from the wheels of locks/serve.txt. IMAGE is a Python 3.11 that buildah can pull; by default one is made of
Debian's packages. Needs root and Debian's buildah, skopeo, docker-registry and debootstrap. Exit code 1 when anything is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from penstock.platforms.remote.container import USER
from penstock.store.artifacts import Artifacts
from penstock.testing.jobs_suite import until
from penstock.testing.ports import free_port
from penstock.testing.serving import ECHO

ROOT = Path(__file__).resolve().parent.parent
DEBIAN = "python3,python3-pip,python3-venv,python-is-python3,ca-certificates"
BASE = "localhost/python:3.11"
TRUSTED = (Path("/etc/pip.conf"), Path("/etc/ssl/certs/ca-certificates.crt"))  # how this machine reaches its package index
READY_S = 60.0
LABELS = ("billing", "cards", "transfers")  # of that engine


class Box:
    """`folder`: where buildah keeps images and containers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}

    def words(self) -> list[str]:
        return ["buildah", "--root", str(self.folder / "images"), "--runroot", str(self.folder / "run")]

    def buildah(self, *words: str) -> str:
        return self.run(*self.words(), *words)

    def run(self, *command: str) -> str:
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"penstock: {' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
        return done.stdout.strip()

    def debian(self) -> None:
        """Makes BASE: a Python from Debian's packages, with what this machine trusts."""
        root = self.folder / "debian"
        self.run("debootstrap", "--variant=minbase", f"--include={DEBIAN}", "bookworm", str(root))
        for file in TRUSTED:
            if file.exists():
                shutil.copyfile(file, root / file.relative_to("/"))
        container = self.buildah("from", "scratch")
        self.buildah("add", "-q", container, str(root), "/")
        self.buildah("config", "--env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", container)
        self.buildah("commit", "-q", container, BASE)
        self.buildah("rm", container)
        shutil.rmtree(root)


@contextlib.contextmanager
def registry(folder: Path) -> Iterator[str]:
    """host:port of a registry of its own."""
    address, told = f"127.0.0.1:{free_port()}", folder / "registry.json"
    settings = {"version": 0.1, "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}}, "http": {"addr": address}}
    told.write_text(json.dumps(settings))  # it reads YAML, which takes JSON
    process = subprocess.Popen(["docker-registry", "serve", str(told)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: answers(f"http://{address}/v2/"), READY_S)
        yield address
    finally:
        process.terminate()
        process.wait()


def answers(url: str, body: dict[str, str] | None = None) -> bytes:
    """What is answered; nothing where nobody does."""
    asked = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return answer.read() or b"{}"
    except OSError:
        return b""


def served(box: Box, image: str) -> str:
    """The label that a replica in a container of `image` gives a text; it is stopped again. The engine is the one that tests use."""
    home = Path(tempfile.mkdtemp(dir=box.folder))
    (home / "bundle").mkdir()
    (home / "bundle" / "bundle.json").write_text("{}")
    digest = Artifacts(str(home / "store"), home / "cache").commit(home / "bundle", "bundle", {}).digest
    for path in (home, *home.rglob("*")):
        os.chown(path, USER, USER)
    told = json.dumps({"engine_class": ECHO, "settings": {"task": "text-classification"}})
    given = {"PENSTOCK_ARTIFACTS": "/data/store", "PENSTOCK_HOME": "/data/penstock", "PENSTOCK_REPLICA": told}
    replica = ["penstock", "replica", digest, "--model", "m", "--version", "1", "--name", "r"]
    container = box.buildah("from", image)
    options = [word for pair in given.items() for word in ("--env", "=".join(pair))]
    command = [*box.words(), "run", *options, "--volume", f"{home}:/data", container, "--", *replica]
    process = subprocess.Popen(command, env=box.environment, stderr=subprocess.DEVNULL, start_new_session=True)
    ready = home / "penstock" / "replicas" / "m" / "r" / "ready.json"
    try:
        until(ready.exists)
        port = json.loads(ready.read_bytes())["port"]
        answer = json.loads(answers(f"http://127.0.0.1:{port}/v1/classify", {"model": "m", "input": "where is my card"}) or b"{}")
        return str(answer["data"][0]["label"]) if "data" in answer else "nothing"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        box.buildah("rm", container)


def tried(box: Box, name: str, build: Callable[[Box, str], Path], base: str, address: str) -> tuple[bool, tuple[str, ...]]:
    """Whether all is as it should be, and the row that says so."""
    began = time.monotonic()
    layout = build(box, base)
    took, image = time.monotonic() - began, f"{address}/{name.split()[0].lower()}:1"
    box.run("skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{layout}", f"docker://{image}")
    there = json.loads(box.run("skopeo", "inspect", "--tls-verify=false", f"docker://{image}"))["Digest"]
    box.buildah("pull", "-q", "--tls-verify=false", image)
    container = box.buildah("from", image)
    user = box.buildah("run", container, "--", "id", "-u")
    box.buildah("rm", container)
    label = served(box, image)
    digest = json.loads((layout / "index.json").read_bytes())["manifests"][0]["digest"]
    layers = json.loads((layout / "blobs" / digest.replace(":", "/")).read_bytes())["layers"]
    size = sum(layer["size"] for layer in layers) / 1e6
    good = there == digest and user == str(USER) and label in LABELS
    return good, (name, digest[:19], f"{size:.1f} MB", "the same" if there == digest else there, user, label, f"{took:.0f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--base", help="an image with Python 3.11")
    base = parser.parse_args().base
    rows, good = [("built by", "digest", "compressed", "pushed and pulled", "user", "answers", "seconds")], True
    with tempfile.TemporaryDirectory(prefix="penstock-") as place:
        box = Box(Path(place))
        if base is None:
            print("penstock: a base from Debian's packages …", file=sys.stderr, flush=True)
            box.debian()
        with registry(box.folder) as address:
            for name, build in (("Dockerfile", by_dockerfile), ("penstock image build", by_penstock)):
                print(f"penstock: {name} …", file=sys.stderr, flush=True)
                right, row = tried(box, name, build, base or BASE, address)
                good = good and right
                rows.append(row)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0 if good else 1


def by_dockerfile(box: Box, base: str) -> Path:
    box.buildah("bud", "-q", "--network", "host", "--build-arg", f"PYTHON={base}", "-t", "localhost/penstock", str(ROOT))
    layout = box.folder / "dockerfile"
    box.buildah("push", "-q", "localhost/penstock", f"oci:{layout}:latest")
    return layout


def by_penstock(box: Box, base: str) -> Path:
    there, wheels, layout = box.folder / "base", box.folder / "wheels", box.folder / "built"
    if not base.startswith("localhost/"):
        box.buildah("pull", "-q", base)
    box.buildah("push", "-q", base, f"oci:{there}:latest")
    lock = str(ROOT / "locks" / "serve.txt")
    download = ("download", "-q", "--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", lock, "-d", str(wheels))
    box.run(sys.executable, "-m", "pip", *download)
    build = ("image", "build", "--wheels", str(wheels), "--lock", lock, "--base", str(there), "--to", str(layout))
    box.run(sys.executable, "-m", "penstock", *build)
    return layout


if __name__ == "__main__":
    sys.exit(main())
