"""Checkpoints: what cannot be trusted is passed over, what was saved before stays."""

import pytest
import torch

from penstock.core.errors import ReadOnly
from penstock.stages.train.checkpoints import Checkpoint, Checkpoints


@pytest.fixture
def logs():
    return []


@pytest.fixture
def checkpoints(tmp_path, logs):
    return Checkpoints(tmp_path, "settings", logs.append)


def save(checkpoints, step):
    checkpoints.save(step, Checkpoint({"master": torch.full((4,), float(step))}, {"step": step}))


def test_the_newest_is_found_and_two_are_kept(checkpoints, tmp_path):
    for step in (1, 2, 30):
        save(checkpoints, step)
    found = checkpoints.newest()
    assert found is not None
    assert found.facts == {"step": 30}
    assert found.tensors["master"].tolist() == [30.0] * 4
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("harm", ["flip", "truncate", "no weights", "no facts", "bad facts"])
def test_a_broken_one_is_passed_over(checkpoints, tmp_path, logs, harm):
    save(checkpoints, 1)
    save(checkpoints, 2)
    state, facts = tmp_path / "step-00000002/state.safetensors", tmp_path / "step-00000002/state.json"
    data = state.read_bytes()
    if harm == "flip":
        state.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif harm == "truncate":
        state.write_bytes(data[: len(data) // 2])
    elif harm == "no weights":
        state.unlink()
    elif harm == "no facts":
        facts.unlink()
    else:
        facts.write_text("{")
    found = checkpoints.newest()
    assert found is not None
    assert found.facts == {"step": 1}
    assert "step-00000002" in logs[0]


def test_half_written_folders_and_other_settings_do_not_count(checkpoints, tmp_path):
    (tmp_path / ".step-00000009.part").mkdir()
    save(Checkpoints(tmp_path, "others", print), 5)
    assert checkpoints.newest() is None
    assert not (tmp_path / ".step-00000009.part").exists()


def test_a_failed_save_leaves_the_old_one(checkpoints, tmp_path, monkeypatch):
    save(checkpoints, 1)

    def refuse(*_):
        raise PermissionError(13, "refused", "x")

    monkeypatch.setattr("penstock.stages.train.checkpoints.save_file", refuse)
    with pytest.raises(ReadOnly):
        save(checkpoints, 2)
    monkeypatch.undo()
    found = checkpoints.newest()
    assert found is not None
    assert found.facts == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]
