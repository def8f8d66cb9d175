"""Several processes train as one: the same bytes however they are spread, the same model as one process but for rounding, killed or not."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from safetensors.torch import load_file

from penstock.core.digests import digest_folder
from penstock.core.errors import BadInput, Interrupted
from penstock.spec.pipeline import Train
from penstock.spec.steps import TrainConfig
from penstock.stages.contract import Peers
from penstock.stages.train.stage import TrainStage
from penstock.stages.train.team import Team
from penstock.testing.ports import free_port
from penstock.testing.stages import FolderInputs, FolderOutputs, RecordingContext

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
PRELOADED = ["penstock.testing.stages", "penstock.stages.train.encoder", "penstock.stages.train.decoder"]
PRELOADED += ["transformers.models.auto.tokenization_auto", "transformers.models.bert.modeling_bert", "sklearn.metrics", "pyarrow.parquet"]
PRELOADED += ["transformers.models.llama.modeling_llama", "torch.distributed"]
SHAPE = {"layers": 2, "hidden": 32, "heads": 2, "context": 16, "vocabulary": 300}


def trained(root: str, peers: tuple[int, int, int], environment: Mapping[str, str], job: Any, stop_after: int | None) -> None:
    """In a process of its own: one of a team. What it ended by is left in `end-<rank>.json`."""
    import os

    os.environ.update(environment)
    torch.set_num_threads(1)
    place, me = Path(root), Peers(*peers)
    context = RecordingContext(place / "context", 1, stop_after, me)
    outputs = FolderOutputs(place / f"outputs-{me.rank}")
    try:
        metrics = dict(TrainStage().run(job[0], job[1], outputs, context))
        told = {"metrics": metrics, "points": context.points, "logs": context.logs, "written": sorted(outputs.kinds)}
    except Exception as error:
        told = {"error": type(error).__name__, "message": str(error), "logs": context.logs}
    (place / f"end-{me.rank}.json").write_text(json.dumps(told))


class Teams:
    def __init__(self) -> None:
        self.processes = multiprocessing.get_context("forkserver")
        self.processes.set_forkserver_preload(PRELOADED)

    def run(self, root: Path, job: Any, nodes: int, each: int, stopped: Mapping[int, int] = {}) -> list[dict[str, Any]]:
        """`nodes` of `each` processes; `stopped`: by rank, after how many looks it is asked to stop."""
        root.mkdir(parents=True, exist_ok=True)
        environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        members = []
        for rank in range(nodes * each):
            peers = (rank, nodes * each, rank % each)
            members.append(self.processes.Process(target=trained, args=(str(root), peers, environment, job, stopped.get(rank))))
        with ExitStack() as stack:
            for member in members:
                member.start()
                stack.callback(member.kill)
            for member in members:
                member.join(60)
                assert member.exitcode == 0
        return [json.loads((root / f"end-{rank}.json").read_text()) for rank in range(nodes * each)]


@pytest.fixture(scope="module")
def teams() -> Teams:
    return Teams()


@pytest.fixture(scope="module")
def decoder(verses: Path) -> tuple[TrainConfig, FolderInputs]:
    train = {"method": {"pretrain": SHAPE}, "steps": 24, "batch_size": 8, "precision": "fp32", "dropout": 0.0}
    config = TrainConfig(task="text-generation", base_digest=None, train=Train.model_validate(train))
    return config, FolderInputs({"dataset": verses})


@pytest.fixture(scope="module")
def four(teams: Teams, decoder: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """Trained by two machines of two processes."""
    place = tmp_path_factory.mktemp("four")
    return place, teams.run(place, decoder, 2, 2)


def weights(place: Path) -> dict[str, torch.Tensor]:
    return load_file(place / "outputs-0" / "model" / "model.safetensors")


def test_the_same_bytes_however_processes_are_spread(teams: Teams, decoder: Any, four: Any, tmp_path: Path) -> None:
    teams.run(tmp_path, decoder, 1, 4)
    assert digest_folder(tmp_path / "outputs-0" / "model") == digest_folder(four[0] / "outputs-0" / "model")


def test_the_same_model_as_one_process_but_for_rounding(teams: Teams, decoder: Any, four: Any, tmp_path: Path) -> None:
    alone = teams.run(tmp_path, decoder, 1, 1)[0]
    for name in ("train.loss", "validation.loss"):
        one = {step: value for point, value, step in alone["points"] if point == name}
        several = {step: value for point, value, step in four[1][0]["points"] if point == name}
        assert several == pytest.approx(one, rel=2e-4)
    mine, theirs = weights(tmp_path), weights(four[0])
    assert max(float((mine[name] - theirs[name]).abs().max()) for name in mine) < 2e-3
    assert "processes" not in json.loads((tmp_path / "outputs-0/model/training.json").read_text())["settings"]
    assert json.loads((four[0] / "outputs-0/model/training.json").read_text())["settings"]["processes"] == 4


def test_only_the_first_writes(four: Any) -> None:
    leader, *others = four[1]
    assert leader["written"] == ["model"]
    assert leader["metrics"]["steps"] == 24
    assert all(other["written"] == [] and other["metrics"] == {} for other in others)


def test_all_stop_at_one_step_whoever_is_asked_and_go_on_to_the_same_bytes(teams: Teams, decoder: Any, four: Any, tmp_path: Path) -> None:
    stopped = teams.run(tmp_path, decoder, 2, 2, {3: 9})
    assert {told["error"] for told in stopped} == {Interrupted.__name__}
    assert {told["message"] for told in stopped} == {"training was asked to stop; step 10 of 24 is saved"}
    again = teams.run(tmp_path, decoder, 2, 2)
    assert any("resumed at step 10 of 24" in line for line in again[0]["logs"])
    assert digest_folder(tmp_path / "outputs-0" / "model") == digest_folder(four[0] / "outputs-0" / "model")


def test_a_checkpoint_of_another_number_of_processes_is_passed_over(teams: Teams, decoder: Any, tmp_path: Path) -> None:
    teams.run(tmp_path, decoder, 1, 2, {0: 4})
    again = teams.run(tmp_path, decoder, 1, 1)[0]
    assert any("belongs to other settings" in line for line in again["logs"])
    assert again["metrics"]["steps"] == 24


def test_dropout_differs_between_processes_and_a_short_batch_leaves_some_idle(
    teams: Teams, intents: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    """144 rows in batches of 11 leave one over, which one of three processes takes."""
    base = digest_folder(tiny_encoder)
    train = Train.model_validate({"method": "full", "epochs": 2, "batch_size": 11, "dropout": 0.1, "precision": "fp32"})
    job = (
        TrainConfig(task="text-classification", base_digest=base, train=train),
        FolderInputs({"dataset": intents}, externals={base: tiny_encoder}),
    )
    first, again = teams.run(tmp_path / "a", job, 1, 3), teams.run(tmp_path / "b", job, 3, 1)
    assert first[0]["metrics"]["epochs"] == 2
    assert digest_folder(tmp_path / "a" / "outputs-0" / "model") == digest_folder(tmp_path / "b" / "outputs-0" / "model")
    assert again[1]["metrics"] == {}


def test_a_batch_that_does_not_go_round(decoder: Any) -> None:
    from penstock.stages.train.precision import pick_compute
    from penstock.stages.train.stage import Settled, build

    config = decoder[0].model_copy(update={"train": decoder[0].train.model_copy(update={"batch_size": 2})})
    compute = pick_compute("fp32")
    trainee = build(config, decoder[1], compute)
    with pytest.raises(BadInput, match="a batch of 2 leaves some of 4 processes without a row"):
        Settled.of(config, trainee, compute, 1, 4)


def test_random_numbers_are_each_ones_own_by_step() -> None:
    drawn = []
    for rank, step in ((0, 5), (1, 5), (0, 6), (0, 5)):
        Team(Peers(rank, 2, rank)).seed(7, step)
        drawn.append(float(torch.rand(1)))
    assert drawn[0] == drawn[3]
    assert len(set(drawn)) == 3
    before = torch.get_rng_state()
    Team().seed(7, 5)
    assert torch.equal(before, torch.get_rng_state())


def test_one_accelerator_for_each_process_of_a_machine() -> None:
    from penstock.stages.train.precision import pick_device

    with patch("torch.cuda.is_available", return_value=True):
        assert (pick_device(3), pick_device()) == (torch.device("cuda", 3), torch.device("cuda"))
