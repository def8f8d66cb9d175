"""What `deploy.adapters` refuses, with the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.core.errors import FileProblems
from penstock.spec.load import load

DIGEST = "sha256:" + "1" * 64
FILE = """
name: m
task: {task}
data: {{sources: [{{uri: rows.csv, label: label}}]}}
train: {{base: minilm}}
deploy:
  adapters:
    {name}: registry:legal@3
    other: legal
    more: {digest}
"""


def written(folder: Path, task: str, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "rows.csv").write_text("text,label\n")
    (folder / "legal").mkdir()
    file = folder / "penstock.yaml"
    file.write_text(FILE.format(task=task, name=name, digest=DIGEST))
    return file


@pytest.mark.parametrize(
    ("task", "name", "line", "reason"),
    [
        ("text-classification", "legal", 7, "a text-classification model takes none"),
        ("text-generation", "a/b", 8, "'a/b' cannot name an adapter"),
        ("text-generation", "x" * 65, 8, "cannot name an adapter"),
        ("text-generation", "legal: {}\n    last", 8, "needs text, not a map"),
    ],
)
def test_what_makes_no_sense_is_refused_where_it_stands(tmp_path: Path, task: str, name: str, line: int, reason: str) -> None:
    file = written(tmp_path, task, name)
    with pytest.raises(FileProblems) as refused:
        load(file)
    assert [(problem.line, reason in problem.reason) for problem in refused.value.problems] == [(line, True)]


def test_adapters_are_read_as_written(tmp_path: Path) -> None:
    deploy = load(written(tmp_path, "text-generation", "legal")).pipeline.deploy
    assert deploy is not None
    assert deploy.adapters == {"legal": "registry:legal@3", "other": "legal", "more": DIGEST}
    file = written(tmp_path / "again", "text-generation", "legal: legl\n    last")
    with pytest.raises(FileProblems, match=r"8:\d+: deploy.adapters.legal: nothing is at .*legl \(did you mean 'legal'\?\)"):
        load(file)
