"""A real corpus that every machine has: the docstrings of Python's standard library, read from its sources.

Sentences labelled by the module they document (classification), or the whole text (generation). The bytes depend on the
Python that is installed, not on anything else; the loud fallback where no published dataset can be had.
"""

from __future__ import annotations

import ast
import csv
import inspect
import io
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

from penstock.core.errors import SourceUnreadable
from penstock.core.files import write_atomic

LICENCE = "PSF-2.0"
SHORTEST = 25  # characters of a sentence
MOST = 400  # sentences a module, so that the largest does not rule
LEAST = 40

# Module -> its files and folders; some moved their Python code behind a C twin between versions.
MODULES = {
    "asyncio": ("asyncio",),
    "concurrent": ("concurrent",),
    "datetime": ("datetime.py", "_pydatetime.py"),
    "decimal": ("_pydecimal.py",),
    "difflib": ("difflib.py",),
    "doctest": ("doctest.py",),
    "email": ("email",),
    "http": ("http",),
    "imaplib": ("imaplib.py",),
    "inspect": ("inspect.py",),
    "ipaddress": ("ipaddress.py",),
    "logging": ("logging",),
    "mailbox": ("mailbox.py",),
    "multiprocessing": ("multiprocessing",),
    "random": ("random.py",),
    "statistics": ("statistics.py",),
    "threading": ("threading.py",),
    "typing": ("typing.py",),
    "unittest": ("unittest",),
    "urllib": ("urllib",),
    "wsgiref": ("wsgiref",),
    "xml": ("xml",),
}


def build_rows(target: Path) -> None:
    """CSV `text,module`: one sentence a row, each sentence once. Raises SourceUnreadable where the library has no sources."""
    seen: set[str] = set()
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["text", "module"])
    modules = 0
    for module in MODULES:
        found = dict.fromkeys(sentence for text in _docstrings(module) for sentence in _sentences(text))
        rows = [sentence for sentence in found if sentence not in seen]
        seen.update(rows)
        if len(rows) >= LEAST:
            modules += 1
            writer.writerows((row, module) for row in rows[:MOST])
    if modules < 10:
        raise SourceUnreadable(f"the standard library of {sys.executable} has no sources to read docstrings from")
    write_atomic(target, out.getvalue().encode())


def build_text(target: Path) -> None:
    """The docstrings of every module and package, one after the other, blank lines between."""
    library = Path(sysconfig.get_path("stdlib"))
    names = sorted(p.name for p in library.iterdir() if (p.suffix == ".py" or (p / "__init__.py").is_file()))
    skipped = ("test", "site-packages", "idlelib", "lib2to3", "turtledemo", "ensurepip", "pydoc_data")
    texts = [text for name in names if name not in skipped for text in _read(_files(library / name))]
    if sum(map(len, texts)) < 200_000:
        raise SourceUnreadable(f"the standard library of {sys.executable} has no sources to read docstrings from")
    write_atomic(target, ("\n\n".join(texts) + "\n").encode())


def _docstrings(module: str) -> Iterator[str]:
    library = Path(sysconfig.get_path("stdlib"))
    for part in MODULES[module]:
        yield from _read(_files(library / part))


def _files(place: Path) -> list[Path]:
    if place.is_dir():
        return sorted(p for p in place.rglob("*.py") if not {"test", "tests", "__pycache__"} & set(p.parts[len(place.parts) :]))
    return [place] if place.is_file() else []


def _read(files: Iterable[Path]) -> Iterator[str]:
    for file in files:
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError):  # templates that are no Python by themselves
            continue
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                text = ast.get_docstring(node)
                if text and text.strip():
                    yield inspect.cleandoc(text)


def _sentences(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text):
        if ">>>" in paragraph:
            continue
        flat = " ".join(paragraph.split())
        for sentence in re.split(r"(?<=[.!?:]) (?=[A-Z`'\"])", flat):
            if len(sentence) >= SHORTEST and sum(c.isalpha() for c in sentence) > len(sentence) / 2:
                yield sentence
