"""The upstream engine over a real OpenAI-compatible server: a replica of ours in a process of its own."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.core.digests import digest_file
from penstock.core.errors import ArtifactCorrupt, BadInput, PenstockError, ReferenceUnset, UpstreamRefused
from penstock.engines import bundle_file
from penstock.engines.bundle_file import BundleFile
from penstock.engines.contract import ClassifyRequest, Embedded, EmbedRequest, GenerateRequest, Message, Text
from penstock.engines.table import open_engine
from penstock.engines.upstream import Upstream, body_of, events
from penstock.engines.upstream_server import NAME, Server
from penstock.testing.serving import RunningReplica, Stage


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, RunningReplica]]:
    with Stage(tmp_path_factory.mktemp("upstream")) as stage:
        steps = stage.folder / "steps"
        yield {
            "text": stage.replica("text", settings={"step_s": 0.002, "steps_file": str(steps)}),
            "vectors": stage.replica("vectors", "vectors", settings={"task": "embedding"}),
        }


def url_of(replica: RunningReplica) -> str:
    return f"http://{replica.route.host}:{replica.route.port}"


def bundle(folder: Path, url: str, model: str = "echo", task: str = "text-generation", key: str | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NAME).write_bytes(Server(url, model, key).data())
    files = {NAME: digest_file(folder / NAME)}
    (folder / bundle_file.NAME).write_bytes(BundleFile("m", task, "upstream", "-", 0, (), files, {}).data())
    return folder


def ask(engine: Any, request: Any) -> list[Any]:
    async def work() -> list[Any]:
        try:
            return [chunk async for chunk in engine.generate(request)]
        finally:
            await engine.close()

    return asyncio.run(asyncio.wait_for(work(), 30))


def test_generates_as_the_server_does(tmp_path: Path, servers: dict[str, RunningReplica]) -> None:
    engine = open_engine(bundle(tmp_path, url_of(servers["text"]) + "/v1/"))
    assert isinstance(engine, Upstream)
    assert engine.found.kind == "openai"
    found = ask(engine, GenerateRequest(prompt="one two", max_tokens=5, n=2))
    texts = {index: "".join(c.text for c in found if c.index == index) for index in (0, 1)}
    assert texts[0].startswith("one two one")
    assert [c.finish_reason for c in found if c.finish_reason] == ["length", "length"]
    assert (found[-1].prompt_tokens, found[-1].completion_tokens) == (2, 10)
    again = open_engine(tmp_path)
    [*_, last] = ask(again, GenerateRequest(messages=[Message("user", "hello there")], max_tokens=4, stop=["there"]))
    assert isinstance(last, Text)
    assert last.finish_reason == "stop"


def test_embeds(tmp_path: Path, servers: dict[str, RunningReplica]) -> None:
    engine = open_engine(bundle(tmp_path, url_of(servers["vectors"]), "vectors", "embedding"))
    [found] = ask(engine, EmbedRequest(["a", "b"]))
    assert isinstance(found, Embedded)
    assert len(found.vectors) == 2


def test_refusals_say_whose_fault_it_is(tmp_path: Path, servers: dict[str, RunningReplica]) -> None:
    with pytest.raises(BadInput, match="NUL character"):
        ask(open_engine(bundle(tmp_path / "a", url_of(servers["text"]))), GenerateRequest(prompt="x\x00y"))
    with pytest.raises(UpstreamRefused, match="engine failed") as refused:
        ask(open_engine(tmp_path / "a"), GenerateRequest(prompt="boom"))
    assert refused.value.status == 500
    with pytest.raises(BadInput, match="cannot classify"):
        ask(open_engine(tmp_path / "a"), ClassifyRequest(["x"]))
    with pytest.raises(BadInput, match=r"has no model 'ecko'; did you mean 'echo'\?"):
        open_engine(bundle(tmp_path / "b", url_of(servers["text"]), "ecko"))
    with pytest.raises(ReferenceUnset):
        open_engine(bundle(tmp_path / "c", url_of(servers["text"]), key="${secret:NOT_THERE_AT_ALL}"))
    with pytest.raises(UpstreamRefused, match="cannot be reached"):
        open_engine(bundle(tmp_path / "d", "http://127.0.0.1:1"))
    with pytest.raises(ArtifactCorrupt, match="not the address"):
        open_engine(bundle(tmp_path / "e", "file:///etc/passwd"))


def test_leaving_early_stops_the_server(tmp_path: Path, servers: dict[str, RunningReplica]) -> None:
    steps = servers["text"].log.parent.parent / "steps"

    async def work() -> int:
        engine = open_engine(bundle(tmp_path, url_of(servers["text"])))
        generating = engine.generate(GenerateRequest(prompt="a b", max_tokens=4000))
        async for _ in generating:
            break
        await generating.aclose()  # type: ignore[attr-defined]
        await asyncio.sleep(0.3)
        before = steps.stat().st_size
        await asyncio.sleep(0.3)
        assert engine.metrics()["cancelled"] == 1
        await engine.close()
        return steps.stat().st_size - before

    assert asyncio.run(work()) <= 1


class Canned:
    """A server that answers any model listing properly and anything else with given bytes, then hangs up."""

    def __init__(self, answer: bytes) -> None:
        self.answer, self.seen = answer, list[bytes]()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with sock:
                data = sock.recv(65536)
                self.seen.append(data)
                body = b'{"data": [{"id": "echo", "max_model_len": 99}]}' if b"/v1/models" in data else b'{"version": "0.32"}'
                whole = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (
                    len(body),
                    body,
                )
                if data.startswith(b"POST"):
                    whole = self.answer
                elif b"/info" in data or b"/props" in data:
                    whole = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                sock.sendall(whole)

    def close(self) -> None:
        # shutdown first: closing alone leaves the thread in accept().
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
CUT = EVENTS + b'transfer-encoding: chunked\r\n\r\n30\r\ndata: {"choices": [{"index": 0, "text": "on'
JUNK = b"HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\ndata: not json\n\n"
ERROR = b'HTTP/1.1 200 OK\r\ncontent-length: 43\r\n\r\ndata: {"error": {"message": "out of KV"}}\n\n\n'
BUSY = b'HTTP/1.1 429 Too Many Requests\r\ncontent-length: 29\r\n\r\n{"error": {"message": "full"}}'


@pytest.mark.parametrize(
    ("answer", "words"), [(CUT, "was lost"), (JUNK, "not JSON"), (ERROR, "out of KV"), (BUSY, "full"), (b"", "was lost")]
)
def test_a_server_that_breaks_is_told_as_one(tmp_path: Path, answer: bytes, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_SECRET_TOKEN", "planted-value")
    server = Canned(answer)
    try:
        engine = open_engine(bundle(tmp_path, server.url, key="${secret:TOKEN}"))
        assert isinstance(engine, Upstream)
        assert (engine.found.kind, engine.found.version, engine.info.max_length) == ("vllm", "0.32", 99)
        with pytest.raises(PenstockError, match=words) as refused:
            ask(engine, GenerateRequest(prompt="x"))
        assert isinstance(refused.value, UpstreamRefused)
        assert all(b"Bearer planted-value" in request for request in server.seen)
        assert "planted-value" not in str(refused.value) + json.dumps(dict(engine.info.settings), default=str)
    finally:
        server.close()


def test_events_however_they_are_cut() -> None:
    whole = b'data: {"choices": [{"text": "h\xc3\xa9"}]}\r\n\r\n: a comment\n\ndata:{"choices": []}\n\ndata: [DONE]\n\n'

    async def read(size: int) -> list[Any]:
        async def pieces() -> Any:
            for start in range(0, len(whole), size):
                yield whole[start : start + size]

        return [event async for event in events(pieces())]

    for size in (1, 2, 3, 7, 1000):
        assert asyncio.run(read(size)) == [{"choices": [{"text": "hé"}]}, {"choices": []}]


def test_bodies_name_what_differs_from_the_defaults() -> None:
    plain = body_of(GenerateRequest(prompt="x"))
    assert set(plain) == {"stream", "stream_options", "prompt", "max_tokens", "temperature", "top_p"}
    more = body_of(GenerateRequest(messages=[Message("user", "x")], n=2, seed=7, logprobs=3, stop=["a"]))
    assert (more["n"], more["seed"], more["logprobs"], more["top_logprobs"], more["stop"]) == (2, 7, True, 3, ["a"])


def test_metrics_tell_whether_the_server_is_there(tmp_path: Path) -> None:
    with Stage(tmp_path / "stage") as stage:
        replica = stage.replica("r")
        engine = open_engine(bundle(tmp_path / "bundle", url_of(replica)))
        assert isinstance(engine, Upstream)
        replica.stop()

        async def work() -> bool:
            engine._looked = time.monotonic() - 60
            try:
                return await engine.healthy()
            finally:
                await engine.close()

        assert asyncio.run(work()) is False
        assert engine.metrics()["upstream_up"] == 0.0
