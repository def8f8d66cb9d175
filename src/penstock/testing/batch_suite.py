"""The conformance suite of batches on a platform: `class TestBatchesThere(BatchConformance)`; rows go there, answers come back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from penstock.control.batch import BatchOptions, batch
from penstock.control.world import open_world
from penstock.core.errors import BadInput
from penstock.core.home import Home
from penstock.testing.serving import ECHO

OPTIONS = BatchOptions(engine_class=ECHO, params={"max_tokens": 2})


class BatchConformance:
    def place(self) -> tuple[str, dict[str, Any]]:
        """(URL for artifacts, the platform's section)."""
        raise NotImplementedError

    def jobs(self) -> Sequence[str]:
        """Names of the jobs that the platform was asked for."""
        raise NotImplementedError

    def test_rows_go_there_and_answers_come_back(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        artifacts, section = self.place()
        monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("PENSTOCK_ARTIFACTS", artifacts)
        monkeypatch.delenv("PENSTOCK_DATABASE", raising=False)
        (tmp_path / "bundle").mkdir()
        (tmp_path / "bundle" / "note.txt").write_text("an engine without weights")
        world = open_world(Home.find())
        bundle = world.store.artifacts.commit(tmp_path / "bundle", "bundle", {}).digest
        run = world.store.resources.create("run", "echo", {"platforms": {"there": section}})
        world.store.registry.register("echo", bundle, run=run.id, task="text-generation", metrics={}, gates=[], facts={})
        world.store.close()
        source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
        source.write_text("".join(json.dumps({"id": n, "text": f"row {n} says"}) + "\n" for n in range(20)))
        with pytest.raises(BadInput, match="no platform is called 'nowhere' \\(there are: laptop, there\\)"):
            batch("echo", source, output, options=OPTIONS, on="nowhere")
        result = batch("echo", source, output, options=OPTIONS, on="there")
        assert (result.rows, result.failures) == (20, 0)
        assert [json.loads(line)["answer"] for line in output.read_text().splitlines()][7] == "row 7 "
        (job,) = self.jobs()
        assert job.startswith("penstock-predict-")
        again = batch("echo", source, tmp_path / "again.jsonl", options=OPTIONS)
        assert again.artifact == result.artifact, "the same batch here: it is answered already"
