"""The Dockerfile and the locks: the same container as `penstock image build` makes, and just the packages that Penstock needs."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from penstock.platforms.image.build import Wish, container
from penstock.platforms.image.packages import needed, plain
from penstock.platforms.image.wheels import locked
from penstock.platforms.remote.container import USER

ROOT = Path(__file__).parents[3]


def instructions() -> list[tuple[str, str]]:
    """Of the last stage: instruction and the rest of its line."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line.split(None, 1) for line in text.splitlines() if line.strip()]
    last = max(at for at, (word, *_) in enumerate(lines) if word == "FROM")
    return [(word, rest[0].strip()) for word, *rest in lines[last:]]


def test_the_dockerfile_makes_the_same_container() -> None:
    found, wanted = dict(instructions()), container(Wish())
    assert sorted(shlex.split(found["ENV"])) == sorted(wanted["Env"])
    assert found["USER"] == wanted["User"]
    assert found["WORKDIR"] == wanted["WorkingDir"]
    assert f"{found['EXPOSE']}/tcp" in wanted["ExposedPorts"]
    assert found["STOPSIGNAL"] == wanted["StopSignal"]
    assert found["ENTRYPOINT"] == '["' + '", "'.join(wanted["Entrypoint"]) + '"]'
    assert found["CMD"] == '["' + '", "'.join(wanted["Cmd"]) + '"]'
    assert f"--owner {USER} --group {USER} --mode 0755 {wanted['WorkingDir']}" in found["RUN"]
    assert "root" not in found["USER"]


@pytest.mark.parametrize(("lock", "extras"), [("core", ()), ("serve", ("serve",))])
def test_a_lock_holds_what_is_needed_as_the_constraints_pin_it(lock: str, extras: tuple[str, ...]) -> None:
    pins = locked(ROOT / "locks" / f"{lock}.txt")
    lines = [line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line and not line.startswith("#")]
    constraints = {plain(name): version.strip() for name, version in lines}
    assert {name: version for name, (version, _) in pins.items()} == {name: constraints[name] for name in pins}
    if sys.platform == "linux":
        assert sorted(pins) == [plain(found.name) for found in needed(extras)]
