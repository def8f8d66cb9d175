"""Every fenced command of the README runs, in order, in an empty folder; blocks marked `<!-- not run: why -->` say why not."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(?P<mark><!-- not run: (?P<why>[^>]+) -->\n)?```sh\n(?P<body>.*?)```", re.DOTALL)


def blocks() -> list[tuple[str | None, str]]:
    return [(m["why"], m["body"]) for m in BLOCK.finditer((ROOT / "README.md").read_text())]


def test_commands_run(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("PENSTOCK_HOME", None)
    ran = 0
    for why, body in blocks():
        if why is not None:
            continue
        for line in body.strip().splitlines():
            done = subprocess.run(line, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
            ran += 1
    assert ran >= 5


def test_blocks_that_do_not_run_say_why_and_are_make_targets() -> None:
    skipped = [(why, body) for why, body in blocks() if why is not None]
    assert skipped
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for why, body in skipped:
        assert len(why) > 15
        for line in body.strip().splitlines():
            assert line.split()[0] == "make"
            assert line.split()[1] in targets


def test_the_yaml_of_the_readme_is_a_pipeline(tmp_path: Path) -> None:
    from penstock.spec.load import load

    text = re.search(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert text is not None
    (tmp_path / "data").mkdir()
    for name in ("train", "test"):
        (tmp_path / "data" / f"{name}.csv").write_text("text,category\nhello,greeting\n")
    (tmp_path / "penstock.yaml").write_text(text[1])
    assert load(tmp_path / "penstock.yaml").pipeline.name == "support-intents"
