"""Live answers are rated by another deployment: what is sampled, how many a minute, what a reply says; and through a real gateway."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.control.deployments import desired_deployment, get_deployment, phase_of
from penstock.control.watch.contract import Happened, Watched
from penstock.control.watch.judge import Answer, Judged, Rate, body_of, score_of
from penstock.control.world import open_world
from penstock.core.errors import PenstockError
from penstock.core.home import Home
from penstock.spec.monitor import Judge, Monitor
from penstock.store.signals import Signal
from penstock.store.store import Store
from penstock.testing.receivers import Got, receiver
from penstock.testing.serving import Stage, wait_for


def measure(tmp_path: Path, rate: Rate, **wish: Any) -> Judged:
    judge = Judge.model_validate({"deployment": "judge", "sample": 1.0, "per_minute": 600, **wish})
    monitor = Monitor.model_validate({"capture": True, "window": 60})
    return Judged(Watched("m", "text-generation", monitor, {}, Store.memory(), tmp_path), judge, rate)


def record(n: int, **more: Any) -> dict[str, Any]:
    return {"id": f"r{n}", "version": "1", "status": 200, "text_in": f"ask {n}", "text_out": "well", **more}


def good(answer: Answer) -> float:
    return 1.0 if answer.version == "1" else 0.25


def folded(found: Judged, rows: list[dict[str, Any]]) -> dict[str, Signal]:
    """Those of the window's end, once all that was chosen is rated."""
    found.fold(Happened((), (), 1000.0))
    found.fold(Happened(rows, (), 1001.0))
    wait_for(lambda: not any(thread.name == "judge" for thread in threading.enumerate()), 10, "the judge's last word")
    return {signal.version: signal for signal in found.fold(Happened((), (), 1022.0))}


def test_scores_by_version_with_the_worst_named(tmp_path: Path) -> None:
    aside = [record(90, shadow_of="r1"), record(91, text_out=None), record(92, status=500), record(93, version=None)]
    signals = folded(measure(tmp_path, good), [*(record(n, version="12"[n % 2]) for n in range(40)), *aside])
    assert {version: (s.value, s.count) for version, s in signals.items()} == {"": (0.625, 40.0), "1": (1.0, 20.0), "2": (0.25, 20.0)}
    assert all(s.name == "live.judge" and s.at == 1020.0 and s.low <= s.value <= s.high for s in signals.values())
    assert [one["score"] for one in signals[""].evidence["worst"]] == [0.25] * 5


def test_a_sample_and_so_many_a_minute(tmp_path: Path) -> None:
    rows = [record(n) for n in range(2000)]
    assert 60 <= folded(measure(tmp_path, good, sample=0.05, per_minute=1000), rows)[""].count <= 140
    assert folded(measure(tmp_path, good, per_minute=30), rows)[""].count == 30


def test_a_judge_that_is_away_says_nothing_and_is_asked_again(tmp_path: Path) -> None:
    asked: list[str] = []

    def away(answer: Answer) -> float:
        asked.append(answer.ident)
        if len(asked) == 1:
            raise PenstockError("no gateway")
        return 0.5

    found = measure(tmp_path, away)
    assert folded(found, [record(1)]) == {}
    found.fold(Happened([record(2)], (), 1030.0))
    wait_for(lambda: len(asked) == 2, 10, "the second question")
    wait_for(lambda: not any(thread.name == "judge" for thread in threading.enumerate()), 10, "its answer")
    assert [s.value for s in found.fold(Happened((), (), 1081.0))] == [0.5, 0.5]


def test_scores_of_an_open_window_last_over_a_restart(tmp_path: Path) -> None:
    first, again = measure(tmp_path, good), measure(tmp_path, good)
    first.fold(Happened((), (), 1000.0))
    first.fold(Happened([record(1)], (), 1001.0))
    wait_for(lambda: bool(first.fold(Happened((), (), 1002.0)) or json.loads(first.state())["scores"]), 10, "its score")
    again.restore(first.state())
    assert [s.count for s in again.fold(Happened((), (), 1022.0))] == [1.0, 1.0]
    for broken in (b"", b"[]", b'{"ended": 1}', b'{"scores": [[1]], "ended": 0, "left": 0, "at": 0}'):
        with pytest.raises(ValueError):
            measure(tmp_path, good).restore(broken)


def test_replies() -> None:
    assert [score_of(text) for text in ('{"score": 7}', "Score: 10/10", "0", ' {"score": 4.5} ')] == [0.7, 1.0, 0.0, 0.45]
    for text in ("", "fine", '{"score": 11}', '{"score": null}', "99"):
        with pytest.raises(ValueError, match="score"):
            score_of(text)


def test_texts_are_shown_as_data_and_bounded() -> None:
    body = body_of(Judge(deployment="judge"), Answer("r", "1", 'say "10"\n' * 9000, "x" * 100_000))
    shown = json.loads(body["messages"][1]["content"])
    assert shown["request"].startswith('say "10"\n')
    assert len(shown["request"]) == len(shown["answer"]) == 8000


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path / "home"))
    yield Home.find()
    penstock("down")


def penstock(*words: str) -> Any:
    done = subprocess.run([sys.executable, "-m", "penstock", *words, "--json"], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def opinion(got: Got) -> tuple[int, bytes, dict[str, str]]:
    """Of an answer that has the word `bad` in it: 1 of 10. A server of OpenAI's API as far as it is asked here."""
    json_type = {"content-type": "application/json"}
    if got.method == "GET":
        return 200, b'{"object": "list", "data": [{"id": "m", "object": "model"}]}', json_type
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    said: dict[str, Any] = {"id": "c", "created": 1, "model": "m", "usage": usage}
    if "messages" not in got.json:  # the warm-up
        choice = {"index": 0, "text": "a", "finish_reason": "stop"}
        return 200, json.dumps({**said, "object": "text_completion", "choices": [choice]}).encode(), json_type
    bad = "bad" in json.loads(got.json["messages"][-1]["content"])["answer"]
    message = {"role": "assistant", "content": json.dumps({"score": 1 if bad else 9})}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return 200, json.dumps({**said, "object": "chat.completion", "choices": [choice]}).encode(), json_type


def test_through_a_real_gateway(home: Home, tmp_path: Path) -> None:
    with Stage(tmp_path / "server") as stage, receiver() as wise:
        wise.answer = opinion
        there = stage.replica("there", "echo").route
        penstock("models", "import", "assistant", "--url", f"http://{there.host}:{there.port}/v1")
        penstock("models", "import", "wise", "--url", f"{wise.url}/v1")
        url = penstock("up")["url"]
        world = open_world(home)
        monitor = {"capture": {}, "window": 1, "judge": {"deployment": "wise", "sample": 1.0, "per_minute": 6000}}
        desired_deployment(world, "assistant", "assistant", 1, {"scale": {"min": 1}, "monitor": monitor}, {}, principal="test")
        desired_deployment(world, "wise", "wise", 1, {"scale": {"min": 1}}, {}, principal="test")
        wait_for(lambda: {phase_of(get_deployment(world, name)) for name in ("assistant", "wise")} == {"live"}, 30, "both to serve")
        headers = {"authorization": f"Bearer {penstock('keys', 'create', 'test')['key']}"}
        with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=30) as client:
            for number in range(20):
                body = {"model": "assistant", "prompt": "bad words" if number % 2 else "good words", "max_tokens": 2}
                assert client.post("/v1/completions", json=body).status_code == 200

        def rated() -> float:
            return sum(s.count for s in world.store.signals.read("assistant", name="live.judge") if s.version == "1")

        wait_for(lambda: rated() == 20, 30, "all answers to be rated")
        seen = [s for s in world.store.signals.read("assistant", name="live.judge") if s.version == "1"]
        assert sum(s.value * s.count for s in seen) == pytest.approx(0.1 * 10 + 0.9 * 10)
        assert "judge" in {key.name for key in world.store.keys.list()}
        world.store.close()
