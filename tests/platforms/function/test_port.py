"""The form of Cloud Run and Knative: `penstock serve` listens on $PORT, answers while it is told to go, and ends with 0."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx

from penstock.store.artifacts import Artifacts
from penstock.testing.jobs_suite import until
from penstock.testing.plain import PLAIN
from penstock.testing.serving import ECHO


def test_it_listens_on_port_and_finishes_what_it_began(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "bundle.json").write_text("{}")
    digest = Artifacts(str(tmp_path / "store"), tmp_path / "cache").commit(bundle, "bundle", {}).digest
    serving = {"bundle": digest, "model": "intents", "version": "4", "settings": {"task": "text-classification", "step_s": 1.0}}
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    told = {
        "PENSTOCK_SERVING": json.dumps(serving),
        "PENSTOCK_REPLICA": json.dumps({"engine_class": ECHO, "drain_s": 8}),
        "PORT": str(port),
    }
    environ = {**os.environ, **told, "PENSTOCK_ARTIFACTS": str(tmp_path / "store"), "PENSTOCK_HOME": str(tmp_path / "home")}
    process = subprocess.Popen([sys.executable, "-m", "penstock", "serve"], env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    answers: list[httpx.Response] = []
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
            until(lambda: answering(client), 60)
            body: dict[str, Any] = {"model": "intents", "input": "where is my card"}
            asking = threading.Thread(target=lambda: answers.append(client.post("/v1/classify", json=body)))
            asking.start()
            until(lambda: httpx.get(f"http://127.0.0.1:{port}/healthz", **PLAIN).json()["in_flight"] == 1, 10)
            begun = time.monotonic()
            process.send_signal(signal.SIGTERM)
            asking.join()
        assert answers[0].json()["model"] == "intents"
        assert process.wait(15) == 0
        assert time.monotonic() - begun < 8
    finally:
        process.kill()
        process.communicate()


def answering(client: httpx.Client) -> bool:
    try:
        return client.get("/ping").status_code == 200
    except httpx.TransportError:
        return False
