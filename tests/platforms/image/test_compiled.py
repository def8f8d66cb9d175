"""Bytecode of an image: the same bytes in any process, used without a look at the source's time, absent where a source does not compile."""

from __future__ import annotations

import importlib.util
import marshal
from pathlib import Path

import pytest

from penstock.platforms.image.compiled import bytecode
from penstock.platforms.image.contract import PYTHON, Entry
from penstock.platforms.image.packages import scripts

NAMES = " | ".join(repr(f"name{n}") for n in range(40))
SOURCES = {
    "opt/a/first.py": b"WORDS = frozenset({'alpha', 'beta', 'gamma', 'delta'})\n\n\ndef f(x):\n    return x in {'one', 'two', 'three'}\n",
    "opt/a/second.py": f"def g(x):\n    match x:\n        case {NAMES}:\n            return 1\n".encode(),
    "opt/a/broken.py": b"def (:\n",
    "opt/a/data.txt": b"text",
}


def test_it_is_the_same_whatever_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [Entry(name, data) for name, data in SOURCES.items()]
    made = []
    for seed in ("1", "2"):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        (tmp_path / seed).mkdir()
        made.append(bytecode(entries if seed == "1" else entries[::-1], tmp_path / seed))
    first, second = ({one.path: Path(str(one.source)).read_bytes() for one in found} for found in made)
    tag = PYTHON.replace("python", "cpython-").replace(".", "")
    assert sorted(first) == [f"opt/a/__pycache__/{name}.{tag}.pyc" for name in ("first", "second")]
    assert first == second
    data = first[f"opt/a/__pycache__/first.{tag}.pyc"]
    assert data[:4] == importlib.util.MAGIC_NUMBER
    assert int.from_bytes(data[4:8], "little") == 0b01  # by hash, not checked
    code = marshal.loads(data[16:])
    assert code.co_filename == "/opt/a/first.py"
    assert str(tmp_path).encode() not in data


def test_commands_of_packages() -> None:
    points = "[console_scripts]\nrun = tool.cli:app.main [extra]\n\n[gui_scripts]\nwindow = tool.gui:main\n"
    [one] = scripts(points)
    assert (one.path, one.mode) == ("opt/penstock/bin/run", 0o755)
    assert isinstance(one.source, bytes)
    assert b"from tool.cli import app\n\nsys.exit(app.main())" in one.source
