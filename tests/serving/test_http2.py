"""HTTP/2: the same answers as HTTP/1.1, many at once on one socket, within each window, and no way to hold or break the gateway."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset
from h2.exceptions import StreamClosedError
from h2.settings import Settings

from penstock.testing.plain import PLAIN
from penstock.testing.serving import SECRET, RunningGateway, Stage, snapshot_of, wait_for

AUTH = {"authorization": f"Bearer {SECRET}"}


@pytest.fixture
def h2client(gateway: RunningGateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.url, http1=False, http2=True, headers=AUTH, trust_env=False) as found:
        yield found


def test_same_answers_as_http1(h2client: httpx.Client, client: httpx.Client) -> None:
    body = {"model": "intents", "input": ["where is my card", "hello"]}
    two, one = h2client.post("/v1/classify", json=body), client.post("/v1/classify", json=body)
    assert (two.http_version, one.http_version) == ("HTTP/2", "HTTP/1.1")
    assert two.json()["data"] == one.json()["data"]
    assert two.headers["x-penstock-version"] == "1"
    assert h2client.get("/v1/models").json() == client.get("/v1/models").json()
    assert h2client.post("/v1/classify", json={"model": "nobody"}).status_code == 404


def test_streams_interleave_on_one_socket(h2client: httpx.Client) -> None:
    ask = {"model": "echo", "prompt": "one two", "max_tokens": 20, "stream": True}
    with h2client.stream("POST", "/v1/completions", json=ask) as first, h2client.stream("POST", "/v1/completions", json=ask) as second:
        texts = [
            [json.loads(line[6:])["choices"][0]["text"] for line in answer.iter_lines() if line.startswith("data: {")]
            for answer in (second, first)
        ]
    assert ["".join(text) for text in texts] == ["one two " * 10] * 2


def test_bodies_over_the_limit_and_beyond_a_window(h2client: httpx.Client) -> None:
    big = h2client.post("/v1/classify", content=b"x" * (2 << 20))
    assert big.status_code == 413
    assert big.json()["error"]["code"] == "body_too_large"
    many = {"model": "intents", "input": ["word " * 400] * 400}  # 800 kB up, and an answer larger than the client's window down
    answer = h2client.post("/v1/classify", json=many)
    assert len(answer.json()["data"]) == 400


class Raw:
    """A client that sends what no library would."""

    def __init__(self, gateway: RunningGateway, settings: dict[int, int] | None = None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", gateway.port), timeout=5)
        self.h2 = H2Connection(H2Configuration(client_side=True))
        self.h2.local_settings = Settings(client=True, initial_values=settings)
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        self.socket.sendall(self.h2.data_to_send())

    def ask(self, stream: int, body: bytes, path: str = "/v1/classify", end: bool = True) -> None:
        head = [(":method", "POST"), (":path", path), (":scheme", "http"), (":authority", "x"), *AUTH.items()]
        self.h2.send_headers(stream, head)
        self.h2.send_data(stream, body, end_stream=end)
        self.flush()

    def events(self, within_s: float = 5.0) -> Iterator[object]:
        """Until the connection ends or nothing comes for a while."""
        self.socket.settimeout(within_s)
        while True:
            try:
                data = self.socket.recv(65536)
            except (TimeoutError, ConnectionResetError):
                return
            if not data:
                return
            yield from self.h2.receive_data(data)
            self.flush()


ASK = json.dumps({"model": "intents", "input": "hello"}).encode()


def test_a_window_of_one_byte_gets_its_answer_byte_by_byte(gateway: RunningGateway) -> None:
    raw = Raw(gateway, {0x4: 1})
    raw.ask(1, ASK)
    got = b""
    for event in raw.events():
        if isinstance(event, DataReceived):
            got += event.data or b""
            with contextlib.suppress(StreamClosedError):  # it was the last
                raw.h2.increment_flow_control_window(len(event.data or b""), stream_id=1)
            raw.h2.increment_flow_control_window(len(event.data or b""))
            raw.flush()
        if isinstance(event, StreamEnded):
            break
    assert json.loads(got)["data"][0]["index"] == 0
    raw.socket.close()


def test_a_body_that_does_not_come_gets_408(gateway: RunningGateway) -> None:
    raw = Raw(gateway)
    head = [
        (":method", "POST"),
        (":path", "/v1/classify"),
        (":scheme", "http"),
        (":authority", "x"),
        ("content-length", "10"),
        *AUTH.items(),
    ]
    raw.h2.send_headers(1, head)
    raw.flush()
    status = next(dict(e.headers)[b":status"] for e in raw.events() if isinstance(e, ResponseReceived))  # type: ignore[arg-type]
    assert status == b"408"
    raw.socket.close()


def test_rapid_reset_is_told_to_calm_down(gateway: RunningGateway) -> None:
    raw = Raw(gateway)

    def flood() -> None:
        head = [(":method", "GET"), (":path", "/v1/models"), (":scheme", "http"), (":authority", "x"), ("content-length", "5")]
        for turn in range(20_000):
            raw.h2.send_headers(2 * turn + 1, head)
            raw.h2.reset_stream(2 * turn + 1)
            raw.flush()

    with pytest.raises(ConnectionError):
        flood()
    raw.socket.close()
    assert httpx.get(f"{gateway.url}/healthz", **PLAIN).json()["status"] == "ok"


@pytest.mark.parametrize(
    "junk",
    [
        b"\x00" * 200,
        b"\xff" * 4000,
        struct.pack(">I", 0xFFFFFF00)[:3] + b"\x01\x04\x00\x00\x00\x01" + b"x" * 100,  # a frame of 16 MiB
        b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00",  # a window update of nothing
        (b"\x00\x10\x00\x01\x00\x00\x00\x00\x01" + b"\x82" * 4096)
        + (b"\x00\x10\x00\x09\x00\x00\x00\x00\x01" + b"\x82" * 4096) * 200,  # endless head
    ],
)
def test_junk_after_the_preface_ends_that_connection_only(gateway: RunningGateway, junk: bytes) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as sock:
        sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        try:
            sock.sendall(junk)
            while sock.recv(65536):
                pass
        except (ConnectionResetError, BrokenPipeError):
            pass
        except TimeoutError:
            pytest.fail("the connection was left open")
    assert httpx.get(f"{gateway.url}/healthz", **PLAIN).json()["status"] == "ok"


def test_a_reset_stream_stops_the_generation(stage: Stage) -> None:
    steps = stage.folder / "steps"
    replica = stage.replica("r1", settings={"step_s": 0.01, "steps_file": str(steps)})
    gateway = stage.gateway(snapshot_of(1, ("1", 1.0, [replica])))
    raw = Raw(gateway)
    raw.ask(1, json.dumps({"model": "echo", "prompt": "a b", "max_tokens": 4000, "stream": True}).encode(), "/v1/completions")
    next(e for e in raw.events() if isinstance(e, DataReceived))
    raw.h2.reset_stream(1)
    raw.flush()
    time.sleep(0.3)
    before = steps.stat().st_size
    time.sleep(0.3)
    assert steps.stat().st_size <= before + 1
    raw.ask(3, json.dumps({"model": "echo", "prompt": "a", "max_tokens": 1}).encode(), "/v1/completions")
    assert any(isinstance(e, StreamEnded) and e.stream_id == 3 for e in raw.events(1.0))
    raw.socket.close()


def test_draining_says_goaway_and_finishes_what_runs(stage: Stage) -> None:
    replica = stage.replica("r1", settings={"step_s": 0.02})
    gateway = stage.gateway(snapshot_of(1, ("1", 1.0, [replica])))
    raw = Raw(gateway)
    raw.ask(1, json.dumps({"model": "echo", "prompt": "a", "max_tokens": 40, "stream": True}).encode(), "/v1/completions")
    events = raw.events()
    next(e for e in events if isinstance(e, DataReceived))
    gateway.process.terminate()
    seen = list(events)
    assert any(isinstance(e, StreamEnded) for e in seen)
    assert not any(isinstance(e, StreamReset) for e in seen)
    assert gateway.process.wait(10) == 0
    raw.socket.close()


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain, private = folder / "cert.pem", folder / "key.pem"
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    chain.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    return chain, private


@pytest.mark.parametrize("workers", [1, 2])
def test_tls_speaks_both_protocols_and_takes_a_renewed_certificate(stage: Stage, workers: int) -> None:
    chain, private = make_certificate(stage.folder, "first")
    replica = stage.replica("r1")
    gateway = stage.gateway(
        snapshot_of(1, ("1", 1.0, [replica])), workers=workers, options=["--tls-cert", str(chain), "--tls-key", str(private)]
    )
    assert json.loads((gateway.folder / "state.json").read_bytes())["scheme"] == "https"
    url = f"https://127.0.0.1:{gateway.port}"
    ask = {"model": "echo", "prompt": "a b", "max_tokens": 4}
    for http2 in (False, True):
        trust = ssl.create_default_context(cafile=str(chain))
        with httpx.Client(base_url=url, http2=http2, verify=trust, headers=AUTH, trust_env=False) as client:
            answer = client.post("/v1/completions", json=ask)
            assert answer.json()["choices"][0]["text"] == "a b a b "
            assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://127.0.0.1:{gateway.port}/healthz", **PLAIN)
    make_certificate(stage.folder, "second")

    def renewed() -> bool:
        pem = ssl.get_server_certificate(("127.0.0.1", gateway.port))
        return ssl.PEM_cert_to_DER_cert(pem) == ssl.PEM_cert_to_DER_cert(chain.read_text())

    wait_for(lambda: all(renewed() for _ in range(8)), 20, "the renewed certificate")
    private.write_text("no key at all")
    time.sleep(0.2)
    assert renewed()


def test_a_certificate_that_does_not_fit_its_key_is_refused_by_name(stage: Stage, tmp_path: Path) -> None:
    chain, _ = make_certificate(tmp_path, "one")
    other = tmp_path / "other"
    other.mkdir()
    _, private = make_certificate(other, "two")
    with pytest.raises(RuntimeError, match=r"cannot be used for TLS: KEY_VALUES_MISMATCH"):
        stage.gateway(None, options=["--tls-cert", str(chain), "--tls-key", str(private)])
    with pytest.raises(RuntimeError, match="needs both"):
        stage.gateway(None, options=["--tls-cert", str(chain)])
