"""The gateway alone: requests through it, keys and records on, beside the bare upstream and LiteLLM; `wrk` at concurrency 1 and 32.

Upstream of all three is one uvloop + httptools stub that answers from memory. Prints requests/s, what the gateway adds to p50 and p99,
memory, and ratios. SSE: 64 events an answer, concurrency 8. With `--endure` instead: memory beside 1,000 idle connections, and after a
million requests.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from peer import Measured, environment, free_port, post_script, server, wrk
from penstock.serving.snapshot import ModelRoute, ReplicaRoute, Snapshot, VersionRoute
from penstock.testing.serving import KEY, SECRET, Stage

LITELLM = "1.106.2"
STUB = """
import asyncio, json, sys
import httptools, uvloop

def chunk(delta, reason=None):
    value = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "echo",
             "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
    data = b"data: " + json.dumps(value).encode() + b"\\n\\n"
    return b"%x\\r\\n%b\\r\\n" % (len(data), data)

answer = {"id": "x", "object": "chat.completion", "created": 1, "model": "echo",
          "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello there"}, "finish_reason": "stop"}],
          "usage": {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}}
body = json.dumps(answer).encode()
whole = b"HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\ncontent-length: %d\\r\\n\\r\\n%b" % (len(body), body)
head = b"HTTP/1.1 200 OK\\r\\ncontent-type: text/event-stream\\r\\ntransfer-encoding: chunked\\r\\n\\r\\n"
events = [chunk({"content": "word "}) for _ in range(63)] + [chunk({}, "stop")]
end = b"e\\r\\ndata: [DONE]\\n\\n\\r\\n0\\r\\n\\r\\n"

class Stub(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.parser, self.streams = transport, httptools.HttpRequestParser(self), False
    def data_received(self, data):
        self.parser.feed_data(data)
    def on_body(self, data):
        self.streams = b'"stream":true' in data.replace(b" ", b"")
    def on_message_complete(self):
        if not self.streams:
            self.transport.write(whole)
            return
        self.transport.write(head)
        for event in events:
            self.transport.write(event)
        self.transport.write(end)

async def main():
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()

uvloop.run(main())
"""


@dataclass(frozen=True, slots=True)
class Figures:
    alone: Measured  # JSON, concurrency 1
    crowd: Measured  # JSON, concurrency 32
    streams: Measured  # SSE, concurrency 8
    memory_bytes: int


def measure(url: str, root: Path, seconds: float, pid: int, key: str = "") -> Figures:
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    ask = {"model": "echo", "messages": [{"role": "user", "content": "hello there"}]}
    plain = post_script(root / "plain.lua", [json.dumps(ask)], headers)
    stream = post_script(root / "stream.lua", [json.dumps({**ask, "stream": True})], headers)
    wrk(url, 8, min(seconds, 2), plain)
    runs = [wrk(url, concurrency, seconds, script, [pid]) for concurrency, script in ((1, plain), (32, plain), (8, stream))]
    process = psutil.Process(pid)
    memory = sum(p.memory_info().rss for p in [process, *process.children(recursive=True)])
    return Figures(*runs, memory)


def ours(upstream: int, root: Path, seconds: float) -> Figures:
    route = ModelRoute("echo", "text-generation", (VersionRoute("1", "", 1.0, (ReplicaRoute("stub", "127.0.0.1", upstream),)),))
    with Stage(root) as stage:
        gateway = stage.gateway(Snapshot(1, (route,), (KEY,)))
        return measure(f"{gateway.url}/v1/chat/completions", root, seconds, gateway.process.pid, SECRET)


def endure(upstream: int, root: Path) -> None:
    """Memory of the gateway fresh, with 1,000 connections that say nothing, and after each 250,000 requests."""
    route = ModelRoute("echo", "text-generation", (VersionRoute("1", "", 1.0, (ReplicaRoute("stub", "127.0.0.1", upstream),)),))
    headers = {"content-type": "application/json", "authorization": f"Bearer {SECRET}"}
    script = post_script(root / "plain.lua", [json.dumps({"model": "echo", "messages": [{"role": "user", "content": "hello"}]})], headers)
    with Stage(root) as stage:
        gateway = stage.gateway(Snapshot(1, (route,), (KEY,)))
        url, process = f"{gateway.url}/v1/chat/completions", psutil.Process(gateway.process.pid)

        def memory(what: str) -> None:
            print(f"{what:36} {process.memory_info().rss / 2**20:7.1f} MiB   {len(process.net_connections()):>5} sockets", flush=True)

        wrk(url, 32, 2, script)
        memory("after a warm-up")
        idle = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(1000)]
        time.sleep(1)
        memory("with 1,000 idle connections")
        found = wrk(url, 32, 5, script)
        print(f"{'beside them':36} {found.per_second:7.0f} req/s, p50 {found.p50_s * 1e3:.2f} ms, {found.failed} failed")
        for connection in idle:
            connection.close()
        done = 0.0
        while done < 1_000_000:
            found = wrk(url, 32, 15, script)
            done += found.per_second * 15
            memory(f"after {done:,.0f} more, {found.failed} failed")


def theirs(upstream: int, root: Path, seconds: float) -> Figures | None:
    try:
        python = environment("litellm", [f"litellm[proxy]=={LITELLM}"])
    except subprocess.CalledProcessError as error:
        print(f"LiteLLM was not measured: it did not install ({error})")
        return None
    port, config = free_port(), root / "litellm.yaml"
    model = {"model": "openai/echo", "api_base": f"http://127.0.0.1:{upstream}/v1", "api_key": "none"}
    key = "sk-benchmark"
    config.write_text(
        json.dumps({"model_list": [{"model_name": "echo", "litellm_params": model}], "general_settings": {"master_key": key}})
    )
    command = [str(python.parent / "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    env = {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"}
    with server(command, f"http://127.0.0.1:{port}/health/liveliness", root / "litellm.log", env=env) as pid:
        return measure(f"http://127.0.0.1:{port}/v1/chat/completions", root, seconds, pid, key)


def show(name: str, found: Figures, bare: Figures, peer: Figures | None) -> None:
    for label, run, base, other in (
        ("JSON c1", found.alone, bare.alone, peer and peer.alone),
        ("JSON c32", found.crowd, bare.crowd, peer and peer.crowd),
        ("SSE c8", found.streams, bare.streams, peer and peer.streams),
    ):
        added = (
            f"adds p50 {(run.p50_s - base.p50_s) * 1e3:7.3f} ms, p99 {(run.p99_s - base.p99_s) * 1e3:7.3f} ms" if run is not base else ""
        )
        ratio = f"   {run.per_second / other.per_second:6.1f}x LiteLLM" if other and run is not other else ""
        failed = f"   failed {run.failed}" if run.failed else ""
        figures = f"{run.per_second:9.1f} req/s   p50 {run.p50_s * 1e3:7.3f} ms   CPU {run.cpu_s * 1e6:7.1f} µs each"
        print(f"{name:12} {label:9} {figures}   {added}{ratio}{failed}", flush=True)
    print(f"{name:12} memory    {found.memory_bytes / 2**20:9.1f} MiB")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0, help="of load, in each run")
    parser.add_argument("--without-peer", action="store_true")
    parser.add_argument("--endure", action="store_true", help="memory over 1,000 idle connections and a million requests")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as made:
        root, port = Path(made), free_port()
        (root / "stub.py").write_text(STUB)
        with server([sys.executable, str(root / "stub.py"), str(port)], f"http://127.0.0.1:{port}/", root / "stub.log") as pid:
            if given.endure:
                endure(port, root)
                return 0
            url = f"http://127.0.0.1:{port}/v1/chat/completions"
            peer = None if given.without_peer else theirs(port, root, given.seconds)
            bare = measure(url, root, given.seconds, pid)
            found = ours(port, root, given.seconds)
        show("bare stub", bare, bare, None)
        if peer is not None:
            show("LiteLLM", peer, bare, peer)
        show("Penstock", found, bare, peer)
        print("budget: 150x LiteLLM JSON, 50x SSE, p50 adds at most 0.2 ms, p99 at most 2 ms, at most 100 MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
