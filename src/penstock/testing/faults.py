"""A replica that misbehaves as told: `python -m penstock.testing.faults --home FOLDER`. Modes can be changed while it runs.

FOLDER/mode holds the mode, FOLDER/port says where it listens, FOLDER/asked gets one byte a request. Modes: `ok`; `slow:SECONDS`; `hang` (no
answer); `garbage` (not HTTP); `html`; `error` (500); `broken` (502); `busy` (503); `close` (no answer, connection
closed); where a stream is asked for, after two events: `hang-later`, `garbage-later`, `close-later`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from penstock.serving.snapshot import ReplicaRoute
from penstock.testing.serving import Stage, wait_for

EVENT = b'data: {"id": "x", "object": "text_completion", "choices": [{"index": 0, "text": "word ", "finish_reason": null}]}\n\n'
ANSWER = b'{"id": "x", "object": "text_completion", "model": "echo", "choices": [{"index": 0, "text": "word", "finish_reason": "stop"}]}'
STATUSES = {"error": 500, "broken": 502, "busy": 503}
ERROR = b'{"error": {"message": "told to fail", "type": "server_error", "param": null, "code": "engine_failed"}}'


@dataclass(slots=True)
class Faulty:
    process: subprocess.Popen[bytes]
    route: ReplicaRoute
    folder: Path

    def be(self, mode: str) -> None:
        (self.folder / "mode").write_text(mode)

    @property
    def asked(self) -> int:
        """Requests so far."""
        path = self.folder / "asked"
        return path.stat().st_size if path.exists() else 0

    @property
    def dropped(self) -> int:
        """Connections that the other side closed while it waited for an answer."""
        path = self.folder / "dropped"
        return path.stat().st_size if path.exists() else 0


def faulty(stage: Stage, ident: str, mode: str) -> Faulty:
    """Starts one and waits until it listens."""
    folder = stage.folder / f"faulty-{ident}"
    folder.mkdir(parents=True)
    (folder / "mode").write_text(mode)
    process = stage.start("penstock.testing.faults", ["--home", str(folder)], folder / "log")
    wait_for(lambda: (folder / "port").exists() or process.poll() is not None, 30, f"faulty replica {ident}")
    return Faulty(process, ReplicaRoute(ident, "127.0.0.1", int((folder / "port").read_text())), folder)


class Server:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                sizes = [line.partition(b":")[2] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
                body = await reader.readexactly(int(sizes[0]) if sizes else 0)
                self._note("asked")
                if not await self._answer((self.folder / "mode").read_text(), body, reader, writer):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, mode: str, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """True when the connection can be used again."""
        name, _, later = mode.partition("-")
        name, _, seconds = name.partition(":")
        streamed = bool(json.loads(body).get("stream"))
        if later == "later" and streamed:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            for _ in range(2):
                writer.write(_chunk(EVENT))
                await writer.drain()
                await asyncio.sleep(0.02)
        if name == "hang" or (name == "slow" and not await self._wait(float(seconds), reader)):
            if name == "hang":
                await self._wait(3600, reader)
            return False
        if name == "garbage":
            writer.write(b"\x00\xffnonsense\r\n\r\n")
        elif name == "html":
            _whole(writer, 200, b"<p>hello</p>", b"text/html")
        elif name in STATUSES:
            _whole(writer, STATUSES[name], ERROR, b"application/json")
        elif name != "close" and streamed:
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            writer.write(head + _chunk(EVENT) * 3 + _chunk(b"data: [DONE]\n\n") + b"0\r\nx-penstock-usage: 1,3\r\n\r\n")
        elif name != "close":
            _whole(writer, 200, ANSWER, b"application/json")
        await writer.drain()
        return name not in ("close", "garbage")

    async def _wait(self, seconds: float, reader: asyncio.StreamReader) -> bool:
        """False when the other side closed before."""
        try:
            await asyncio.wait_for(reader.read(1), seconds)
        except TimeoutError:
            return True
        except ConnectionError:
            pass
        self._note("dropped")
        return False

    def _note(self, name: str) -> None:
        with (self.folder / name).open("ab") as file:
            file.write(b".")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _whole(writer: asyncio.StreamWriter, status: int, body: bytes, kind: bytes) -> None:
    writer.write(b"HTTP/1.1 %d X\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (status, kind, len(body), body))


async def run(folder: Path) -> None:
    server = await asyncio.start_server(Server(folder).serve, "127.0.0.1", 0)
    beside = folder / ".port"
    beside.write_text(str(server.sockets[0].getsockname()[1]))
    beside.rename(folder / "port")
    await server.serve_forever()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m penstock.testing.faults")
    parser.add_argument("--home", type=Path, required=True)
    asyncio.run(run(parser.parse_args().home))
    return 0


if __name__ == "__main__":
    sys.exit(main())
