"""The gateway between snapshots, replicas that fail, and its own start and stop."""

from __future__ import annotations

import json
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from penstock.serving.gateway import main
from penstock.serving.record_files import read_records
from penstock.serving.snapshot import Protection, Snapshot
from penstock.testing.plain import PLAIN
from penstock.testing.serving import KEY, SECRET, RunningGateway, Stage, snapshot_of, wait_for

AUTH = {"authorization": f"Bearer {SECRET}"}


def ask(gateway: RunningGateway, headers: dict[str, str] | None = None, **fields: object) -> httpx.Response:
    body = {"model": "echo", "prompt": "a b", "max_tokens": 2, **fields}
    return httpx.post(f"{gateway.url}/v1/completions", json=body, headers={**AUTH, **(headers or {})}, timeout=20, **PLAIN)


def streamed(gateway: RunningGateway, **fields: object) -> tuple[bytes, bool]:
    """Events as far as they came, and whether the answer was complete."""
    body, events = {"model": "echo", "prompt": "a b", "stream": True, **fields}, b""
    with httpx.stream("POST", f"{gateway.url}/v1/completions", json=body, headers=AUTH, timeout=20, **PLAIN) as answer:
        try:
            for part in answer.iter_raw():
                events += part
        except httpx.RemoteProtocolError:
            return events, False
    return events, True


def metric(gateway: RunningGateway, name: str) -> float:
    text = httpx.get(f"{gateway.url}/metrics", **PLAIN).text
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))


def test_traffic_is_sticky_weighted_and_can_be_pinned(stage: Stage) -> None:
    one, two = stage.replica("r1"), stage.replica("r2", version="2")
    gateway = stage.gateway(snapshot_of(1, ("1", 0.5, [one]), ("2", 0.5, [two])))
    served = {s: {ask(gateway, {"x-penstock-session": s}).headers["x-penstock-version"] for _ in range(3)} for s in map(str, range(30))}
    assert all(len(found) == 1 for found in served.values())
    assert {v for found in served.values() for v in found} == {"1", "2"}
    assert len({ask(gateway, user="someone").headers["x-penstock-version"] for _ in range(5)}) == 1
    assert len({ask(gateway).headers["x-penstock-replica"] for _ in range(5)}) == 1
    for version in ("1", "2"):
        assert ask(gateway, {"x-penstock-version": version}).headers["x-penstock-version"] == version
    assert ask(gateway, {"x-penstock-version": "9"}).status_code == 404
    gateway.apply(snapshot_of(2, ("1", 1.0, [one]), ("2", 0.0, [two])))
    assert {ask(gateway, {"x-penstock-session": s}).headers["x-penstock-version"] for s in served} == {"1"}
    assert ask(gateway, {"x-penstock-version": "2"}).headers["x-penstock-version"] == "2"


def test_the_last_good_snapshot_stays_when_the_file_breaks_or_goes(stage: Stage) -> None:
    replica = stage.replica("r1")
    gateway = stage.gateway(snapshot_of(1, ("1", 1.0, [replica])))
    path = gateway.folder / "snapshot.json"
    for number, broken in enumerate((b"{", b"[]", b'{"version": 2, "models": [{"name": 1}], "keys": [], "limits": {}}', b"\xff\xfe"), 1):
        path.write_bytes(broken)
        wait_for(lambda wanted=number: metric(gateway, "penstock_snapshot_errors_total") == wanted, 5, "the bad file was seen")
        assert ask(gateway).status_code == 200
    path.unlink()
    time.sleep(0.3)
    assert ask(gateway).status_code == 200
    assert gateway.in_force() == 1
    gateway.apply(snapshot_of(7, ("1", 1.0, [replica])))
    assert metric(gateway, "penstock_snapshot_version") == 7


def test_a_gateway_without_a_snapshot_starts_refuses_and_learns(stage: Stage) -> None:
    gateway = stage.gateway(None)
    assert ask(gateway).status_code == 401
    gateway.apply(Snapshot(1, (), (KEY,)))
    assert ask(gateway).status_code == 404
    gateway.apply(snapshot_of(2, ("1", 1.0, [])))
    answer = ask(gateway)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    gateway.apply(snapshot_of(3, ("1", 1.0, [stage.replica("r1")])))
    assert ask(gateway).status_code == 200
    revoked = Snapshot(4, snapshot_of(4, ("1", 1.0, [])).models, ())
    gateway.apply(revoked)
    assert ask(gateway).status_code == 401


def test_a_port_that_is_taken_is_said_plainly(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        with Stage(tmp_path) as stage, pytest.raises(RuntimeError, match=f"127.0.0.1:{port} is in use.*--port"):
            stage.gateway(None, port=port)
        assert main(["--home", str(tmp_path), "--port", str(port)]) == 1
    capfd.readouterr()


def test_a_dead_replica_is_passed_over_also_for_generation(stage: Stage) -> None:
    first, second = stage.replica("r1"), stage.replica("r2")
    gateway = stage.gateway(snapshot_of(1, ("1", 1.0, [first, second])))
    assert ask(gateway).status_code == 200
    first.stop(signal.SIGKILL)
    answers = [ask(gateway) for _ in range(10)]
    assert {a.status_code for a in answers} == {200}
    assert {a.headers["x-penstock-replica"] for a in answers} == {"r2"}
    second.stop(signal.SIGKILL)
    assert ask(gateway).status_code == 503


def test_a_replica_killed_while_it_works_is_retried_unless_something_was_sent(stage: Stage) -> None:
    slow = stage.replica("slow", settings={"step_s": 0.2})
    fast = stage.replica("fast", version="2")
    gateway = stage.gateway(snapshot_of(1, ("1", 1.0, [slow]), ("2", 1e-9, [fast])))
    with ThreadPoolExecutor(2) as pool:
        waiting, streaming = pool.submit(ask, gateway, max_tokens=50), pool.submit(streamed, gateway, max_tokens=50)
        time.sleep(0.6)
        slow.stop(signal.SIGKILL)
        assert (waiting.result().status_code, waiting.result().headers["x-penstock-version"]) == (200, "2")
        events, whole = streaming.result()
    assert not whole
    assert b'"replica_lost"' in events
    assert b"[DONE]" not in events


def test_a_replica_that_leaves_the_snapshot_finishes_what_it_has(stage: Stage) -> None:
    old, new = stage.replica("old", settings={"step_s": 0.05}), stage.replica("new", version="2")
    gateway = stage.gateway(snapshot_of(1, ("1", 1.0, [old])))
    with ThreadPoolExecutor(1) as pool:
        streaming = pool.submit(ask, gateway, max_tokens=30, stream=True)
        time.sleep(0.3)
        gateway.apply(snapshot_of(2, ("2", 1.0, [new])))
        assert ask(gateway).headers["x-penstock-version"] == "2"
        assert old.stop(signal.SIGTERM) == 0
        answer = streaming.result()
    assert answer.headers["x-penstock-version"] == "1"
    assert answer.text.endswith("data: [DONE]\n\n")


def test_the_gateway_finishes_what_it_has_when_told_to_stop(stage: Stage) -> None:
    replica = stage.replica("slow", settings={"step_s": 0.05})
    gateway = stage.gateway(snapshot_of(1, ("1", 1.0, [replica])))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask, gateway, max_tokens=20)
        time.sleep(0.3)
        assert gateway.stop() == 0
        assert waiting.result().status_code == 200
    assert [r["status"] for r in read_records(gateway.folder / "records")] == [200]


def test_a_client_that_does_not_read_holds_the_engine_back_not_the_memory(stage: Stage, tmp_path: Path) -> None:
    steps = tmp_path / "steps"
    replica = stage.replica("r1", settings={"steps_file": str(steps)})
    gateway = stage.gateway(snapshot_of(1, ("1", 1.0, [replica])))
    body = json.dumps({"model": "echo", "prompt": "word " * 1000, "max_tokens": 500_000, "stream": True}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {SECRET}\r\ncontent-length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:
        client.sendall(head.encode() + body)
        sizes: list[int] = []

        def still() -> bool:
            time.sleep(0.5)
            sizes.append(steps.stat().st_size if steps.exists() else 0)
            return len(sizes) > 1 and sizes[-1] == sizes[-2] > 0

        wait_for(still, 30, "the engine waits for its reader")
        assert sizes[-1] < 400_000
        client.recv(1 << 20)
        received = 0
        while received < 4 << 20:
            received += len(client.recv(1 << 20))
        wait_for(lambda: steps.stat().st_size > sizes[-1], 10, "it goes on when the client reads")
    assert ask(gateway).status_code == 200


def test_a_replica_that_drains_turns_new_connections_away(stage: Stage) -> None:
    replica = stage.replica("slow", settings={"step_s": 0.05})
    body = {"model": "echo", "prompt": "a", "max_tokens": 30}
    url = f"http://127.0.0.1:{replica.route.port}"
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(httpx.post, f"{url}/v1/completions", json=body, timeout=20, trust_env=False)
        time.sleep(0.4)
        replica.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/healthz", **PLAIN)
        assert waiting.result().status_code == 200
    assert replica.process.wait(10) == 0


def test_a_request_over_its_time_is_504_and_stops_the_replica(stage: Stage, tmp_path: Path) -> None:
    steps = tmp_path / "steps"
    replica = stage.replica("slow", settings={"step_s": 0.05, "steps_file": str(steps)})
    snapshot = snapshot_of(1, ("1", 1.0, [replica]))
    gateway = stage.gateway(replace(snapshot, models=(replace(snapshot.models[0], protection=Protection(timeout_s=0.5)),)))
    assert ask(gateway, max_tokens=1000).status_code == 504
    time.sleep(0.2)
    taken = steps.stat().st_size
    time.sleep(0.3)
    assert steps.stat().st_size == taken
    events, whole = streamed(gateway, max_tokens=1000)
    assert not whole
    assert b"[DONE]" not in events


def test_a_record_and_the_metrics_tell_what_happened(stage: Stage) -> None:
    replica = stage.replica("r1")
    gateway = stage.gateway(snapshot_of(3, ("1", 1.0, [replica])))
    began = time.time()
    answer = ask(gateway, {"x-request-id": "one"}, max_tokens=7)
    ask(gateway, max_tokens=-1)
    wait_for(lambda: len(list(read_records(gateway.folder / "records"))) == 2, 5, "two records")
    record = next(read_records(gateway.folder / "records", since=began - 1))
    expected = {"id": "one", "model": "echo", "version": "1", "replica": "r1", "route": "/v1/completions", "key": KEY.id, "status": 200}
    assert {name: record[name] for name in expected} == expected
    assert (record["prompt_tokens"], record["completion_tokens"], record["attempts"]) == (2, 7, 1)
    assert record["bytes_out"] == len(answer.content)
    assert 0 <= record["queue_ms"] <= record["first_ms"] <= record["total_ms"] < 5000
    assert abs(record["ts"] - began) < 5
    labels = 'route="/v1/completions",model="echo",version="1"'
    assert metric(gateway, f'penstock_requests_total{{{labels},status="200"}}') == 1
    assert metric(gateway, f'penstock_requests_total{{{labels},status="400"}}') == 1
    assert metric(gateway, 'penstock_tokens_total{model="echo",version="1",direction="completion"}') == 7
    assert metric(gateway, f"penstock_request_seconds_count{{{labels}}}") == 2
    assert metric(gateway, 'penstock_replicas{model="echo",version="1",state="up"}') == 1


def test_records_that_cannot_be_written_do_not_stop_answers(stage: Stage) -> None:
    replica = stage.replica("r1")
    folder = stage.folder / "gateway"
    folder.mkdir(parents=True)
    (folder / "records").write_text("a file where the folder should be")
    gateway = stage.gateway(snapshot_of(1, ("1", 1.0, [replica])))
    assert {ask(gateway).status_code for _ in range(3)} == {200}
    wait_for(lambda: metric(gateway, "penstock_records_dropped_total") == 3, 5, "drops are counted")
    assert "serving goes on without them" in gateway.log.read_text()


def test_a_replica_says_what_it_is_and_why_it_did_not_start(stage: Stage) -> None:
    replica = stage.replica("r1", version="5")
    url = f"http://127.0.0.1:{replica.route.port}"
    health = httpx.get(f"{url}/healthz", **PLAIN).json()
    assert {"status": "ok", "id": "r1", "model": "echo", "version": "5"}.items() <= health.items()
    assert httpx.post(f"{url}/v1/completions", json={"model": "echo", "prompt": "a"}, **PLAIN).status_code == 200
    assert 'penstock_replica_requests_total{route="/v1/completions"' in httpx.get(f"{url}/metrics", **PLAIN).text
    ready = json.loads((stage.folder / "replicas" / "r1.ready.json").read_bytes())
    assert ready["pid"] == replica.process.pid
    assert ready["load_seconds"] >= 0
    process, file, log = stage.start_replica("bad", "echo", "1", settings={"fail": "load"})
    assert process.wait(20) == 1
    assert "told to fail" in json.loads(file.read_bytes())["error"]["message"]
    assert "told to fail" in log.read_text().strip().splitlines()[-1]
