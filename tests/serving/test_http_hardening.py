"""What strangers send: each answered with the fitting status, none able to hold or break the gateway."""

from __future__ import annotations

import json
import socket
import time

import httpx
import pytest

from penstock.testing.plain import PLAIN
from penstock.testing.serving import SECRET, RunningGateway, wait_for

KEY_LINE = f"authorization: Bearer {SECRET}\r\n".encode()
ASK = json.dumps({"model": "intents", "input": "where is my card"}).encode()


def connect(gateway: RunningGateway) -> socket.socket:
    return socket.create_connection(("127.0.0.1", gateway.port), timeout=5)


def post(body: bytes, *lines: bytes, path: bytes = b"/v1/classify") -> bytes:
    head = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n%b%b\r\n" % (path, len(body), KEY_LINE, b"".join(lines))
    return head + body


def read_all(sock: socket.socket) -> bytes:
    found = b""
    while data := sock.recv(65536):
        found += data
    return found


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def alive(gateway: RunningGateway) -> bool:
    return httpx.get(f"{gateway.url}/healthz", **PLAIN).json()["status"] == "ok"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"),
        (b'{"model": "intents", "input": ', "line 1 column 31"),
        (b'{"model": "intents",\n "input": "x",}', "line 2 column 14"),
        (b'{"model": "intents", "input": "\xff\xfe"}', "not JSON"),
        (b'{"model": "intents", "input": "\\ud800"}', "not JSON"),
        (b'["model"]', "JSON object"),
        (b"[" * 100_000, "not JSON"),
        (b'{"input": "x"}', "model must be a string"),
        (b'{"model": "intents"}', "input must be"),
        (b'{"model": "intents", "input": []}', "empty list"),
        (b'{"model": "intents", "input": ["x", 7]}', "input[1]"),
        (b'{"model": "intents", "input": "x", "top_k": 0}', "top_k"),
        (b'{"model": "intents", "input": "x", "topk": 1}', "did you mean 'top_k'"),
        (b'{"model": "intents", "input": "x\\u0000y"}', "NUL"),
    ],
)
def test_a_bad_body_is_400_and_says_where(client: httpx.Client, body: bytes, words: str) -> None:
    answer = client.post("/v1/classify", content=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert words in error["message"]
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": -3}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": 1 << 40}, "max_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 1.1}, "top_p"),
        ({"n": 65}, "n"),
        ({"stream": "yes"}, "stream"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"stop": ["a" * 257]}, "stop"),
        ({"logprobs": 21}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"best_of": 2}, "best_of"),
        ({"presence_penalty": -2.1}, "presence_penalty"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [1, "a"]}, "prompt[1]"),
        ({"prompt": [[1], [-1]]}, "prompt[1][0]"),
        ({"prompt": ["a"] * 200, "n": 2}, "prompt"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, "response_format.json_schema"),
        ({"structured_outputs": {"regex": ""}}, "structured_outputs.regex"),
        ({"structured_outputs": {"json": {}, "regex": "a"}}, "structured_outputs"),
        ({"structured_outputs": {"regex": "a" * 70000}}, "structured_outputs.regex"),
        ({"stop": [""]}, "stop"),
        ({"seed": "x"}, "seed"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"max_token": 5}, "max_token"),
        ({"prompt": {"a": 1}}, "prompt"),
    ],
)
def test_a_bad_parameter_is_named(client: httpx.Client, fields: dict[str, object], param: str) -> None:
    answer = client.post("/v1/completions", json={"model": "echo", "prompt": "a", **fields})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "messages"),
        (["hi"], "messages[0]"),
        ([{"role": "wizard", "content": "x"}], "messages[0].role"),
        ([{"role": "user", "content": "x"}, {"role": "user"}], "messages[1].content"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}], "messages[0].content[0]"),
    ],
)
def test_unknown_content_is_named(client: httpx.Client, messages: list[object], param: str) -> None:
    answer = client.post("/v1/chat/completions", json={"model": "echo", "messages": messages})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_keys_are_asked_for(gateway: RunningGateway) -> None:
    for headers in ({}, {"authorization": "Bearer psk-wrong"}, {"authorization": SECRET}, {"authorization": f"Basic {SECRET}"}):
        for answer in (
            httpx.get(f"{gateway.url}/v1/models", headers=headers, **PLAIN),
            httpx.post(f"{gateway.url}/v1/classify", headers=headers, content=ASK, **PLAIN),
        ):
            assert answer.status_code == 401
            assert answer.json()["error"]["type"] == "authentication_error"
    assert httpx.get(f"{gateway.url}/metrics", **PLAIN).status_code == 200


def test_wrong_routes_methods_and_kinds(client: httpx.Client) -> None:
    assert client.get("/v1/classify").status_code == 405
    assert client.get("/v1/classify").headers["allow"] == "POST"
    assert client.post("/v1/models").status_code == 405
    assert client.get("/v1/nothing").status_code == 404
    assert client.get("/v1/models/intents").json()["id"] == "intents"
    assert client.get("/v1/models/intent").status_code == 404
    missing = client.post("/v1/classify", json={"model": "intent", "input": "x"})
    assert missing.status_code == 404
    assert "did you mean 'intents'" in missing.json()["error"]["message"]
    assert client.post("/v1/classify", content=ASK, headers={"content-type": "text/xml"}).status_code == 415
    assert client.post("/v1/classify", content=ASK, headers={"content-encoding": "gzip"}).status_code == 415
    wrong_task = client.post("/v1/classify", json={"model": "echo", "input": "x"})
    assert (wrong_task.status_code, wrong_task.json()["error"]["code"]) == (400, "wrong_task")


@pytest.mark.parametrize(
    "path", [b"/../../etc/passwd", b"/v1/../../etc/passwd", b"/%2e%2e/snapshot.json", b"//etc/passwd", b"/v1/models/../x"]
)
def test_paths_lead_nowhere(gateway: RunningGateway, path: bytes) -> None:
    with connect(gateway) as sock:
        sock.sendall(b"GET %b HTTP/1.1\r\nhost: x\r\nconnection: close\r\n%b\r\n" % (path, KEY_LINE))
        answer = read_all(sock)
    assert status_of(answer) == 404
    assert b"root:" not in answer


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/classify HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
        b"POST /v1/classify HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"POST /v1/classify HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/classify HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n",
    ],
)
def test_what_is_not_http_is_400_and_closed(gateway: RunningGateway, data: bytes) -> None:
    with connect(gateway) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        assert status_of(read_all(sock)) == 400
    assert alive(gateway)


@pytest.mark.parametrize("head", [b"x-big: " + b"a" * 200_000, b"".join(b"x-%d: 1\r\n" % n for n in range(20_000))])
def test_huge_heads_are_431(gateway: RunningGateway, head: bytes) -> None:
    with connect(gateway) as sock:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n" + head[:100_000])
        assert status_of(read_all(sock)) == 431


def test_slow_heads_and_slow_bodies_are_408(gateway: RunningGateway) -> None:
    began = time.monotonic()
    with connect(gateway) as head, connect(gateway) as body:
        head.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-slow: ")
        body.sendall(b"POST /v1/classify HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        for _ in range(4):
            time.sleep(0.1)
            head.sendall(b"a")
            body.sendall(b" ")
        assert [status_of(read_all(head)), status_of(read_all(body))] == [408, 408]
    assert time.monotonic() - began < 4


def test_a_body_of_100_mb_is_413_long_before_it_is_read(gateway: RunningGateway) -> None:
    with connect(gateway) as sock:
        sock.sendall(b"POST /v1/classify HTTP/1.1\r\nhost: x\r\ncontent-length: 104857600\r\n%b\r\n" % KEY_LINE)
        assert status_of(sock.recv(65536)) == 413
    with connect(gateway) as sock:
        sock.sendall(b"POST /v1/classify HTTP/1.1\r\nhost: x\r\ncontent-length: 104857600\r\nexpect: 100-continue\r\n%b\r\n" % KEY_LINE)
        assert status_of(sock.recv(65536)) == 413
    with connect(gateway) as sock:
        sock.sendall(b"POST /v1/classify HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n%b\r\n" % KEY_LINE)
        sent, chunk = 0, b"10000\r\n" + b"a" * 65536 + b"\r\n"
        try:
            while sent < 1600:
                sock.sendall(chunk)
                sent += 1
        except OSError:
            pass
        assert sent < 1600
        assert status_of(sock.recv(65536)) == 413
    assert alive(gateway)


def test_an_http_client_with_a_large_body_reads_the_413(client: httpx.Client) -> None:
    answer = client.post("/v1/classify", content=b"a" * (20 << 20))
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "body_too_large"


def test_expect_continue_and_chunked_bodies_are_served(gateway: RunningGateway) -> None:
    with connect(gateway) as sock:
        head = b"POST /v1/classify HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\nexpect: 100-continue\r\nconnection: close\r\n%b\r\n"
        sock.sendall(head % (len(ASK), KEY_LINE))
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(ASK)
        assert status_of(read_all(sock)) == 200
    with connect(gateway) as sock:
        sock.sendall(b"POST /v1/classify HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n%b\r\n" % KEY_LINE)
        for byte in ASK:
            sock.sendall(b"1\r\n%c\r\n" % byte)
        sock.sendall(b"0\r\nauthorization: none\r\n\r\n")
        assert status_of(read_all(sock)) == 200


def test_pipelined_requests_are_answered_in_order(gateway: RunningGateway) -> None:
    count = 50
    with connect(gateway) as sock:
        lines = [post(ASK, b"x-request-id: p-%d\r\n" % n, *([b"connection: close\r\n"] if n == count - 1 else [])) for n in range(count)]
        sock.sendall(b"".join(lines))
        answer = read_all(sock)
    assert answer.count(b"HTTP/1.1 200 OK") == count
    places = [answer.index(b"x-request-id: p-%d\r\n" % n) for n in range(count)]
    assert places == sorted(places)


def test_thousands_of_pipelined_requests_in_one_packet(gateway: RunningGateway) -> None:
    with connect(gateway) as sock:
        sock.sendall(b"GET /healthz HTTP/1.1\r\n\r\n" * 5000 + b"GET /healthz HTTP/1.1\r\nconnection: close\r\n\r\n")
        assert read_all(sock).count(b"HTTP/1.1 200 OK") == 5001


def test_a_half_closed_client_gets_its_answer(gateway: RunningGateway) -> None:
    with connect(gateway) as sock:
        sock.sendall(post(ASK) + post(ASK))
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock).count(b"HTTP/1.1 200 OK") == 2


def test_http_1_0_and_head_are_served(gateway: RunningGateway) -> None:
    with connect(gateway) as sock:
        sock.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert b"snapshot_version" in read_all(sock)
    with connect(gateway) as sock:
        sock.sendall(b"HEAD /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert read_all(sock).endswith(b"\r\n\r\n")
    body = json.dumps({"model": "echo", "prompt": "a b", "max_tokens": 3, "stream": True}).encode()
    with connect(gateway) as sock:
        sock.sendall(post(body, path=b"/v1/completions").replace(b"HTTP/1.1", b"HTTP/1.0"))
        answer = read_all(sock)
        assert b"chunked" not in answer
        assert answer.endswith(b"data: [DONE]\n\n")


def test_connections_that_come_and_go_leave_nothing_behind(gateway: RunningGateway) -> None:
    for _ in range(200):
        with connect(gateway) as sock:
            sock.sendall(b"POST /v1/cl")

    def open_connections() -> float:
        text = httpx.get(f"{gateway.url}/metrics", **PLAIN).text
        return float(next(line.split()[-1] for line in text.splitlines() if line.startswith("penstock_connections ")))

    wait_for(lambda: open_connections() <= 3, 5, "connections closed")


def test_request_ids_are_taken_when_sane_and_made_when_not(client: httpx.Client) -> None:
    ask = {"model": "intents", "input": "x"}
    assert client.post("/v1/classify", json=ask, headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    for insane in ("a" * 65, "a b", "<script>", ""):
        assert client.post("/v1/classify", json=ask, headers={"x-request-id": insane}).headers["x-request-id"].startswith("req-")


def test_no_key_and_no_text_in_logs_and_records(gateway: RunningGateway, client: httpx.Client) -> None:
    planted = "planted-7731"
    client.post("/v1/completions", json={"model": "echo", "prompt": f"{planted} boom"})
    client.post("/v1/completions", json={"model": "echo", "prompt": f"{planted}\x00"})
    client.post("/v1/completions", json={"model": "echo", "prompt": planted, "max_tokens": 2})
    client.post("/v1/classify", json={"model": "intents", "input": [planted]})
    client.post("/v1/classify", content=f'{{"model": "intents", "input": "{planted}'.encode())

    def records() -> bytes:
        return b"".join(path.read_bytes() for path in (gateway.folder / "records").glob("*.jsonl"))

    before = records().count(b"\n")
    wait_for(lambda: records().count(b"\n") >= max(before, 5), 5, "records on disk")
    time.sleep(0.5)
    root = gateway.folder.parent
    sinks = [path for path in root.rglob("*") if path.is_file()]
    assert len(sinks) >= 6
    for path in sinks:
        data = path.read_bytes()
        assert planted.encode() not in data, path
        assert SECRET.encode() not in data, path
