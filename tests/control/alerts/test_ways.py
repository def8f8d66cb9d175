"""Messages as receivers get them: vendors' documented shapes, real SMTP, signatures, and secrets that show nowhere."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.control.alerts.notify.contract import SHOWN, Item, Message
from penstock.control.alerts.notify.delivery import beat, deliver
from penstock.control.alerts.notify.email import compose, server_of
from penstock.control.alerts.notify.pagerduty import say as pagerduty
from penstock.control.alerts.notify.slack import say as slack
from penstock.control.alerts.notify.table import WAYS
from penstock.control.alerts.notify.webhook import document
from penstock.core.errors import NotDelivered, OutboundRefused, ReferenceUnset
from penstock.spec.react import Receiver as Section
from penstock.testing.receivers import Got, Receiver

AT = 1_700_000_000.0
PAGE = Path(__file__).parents[3] / "docs" / "reference" / "alert-webhook.md"


def item(n: int = 0, **more: Any) -> Item:
    labels = {"deployment": "support", "alert": f"rule {n}", "severity": "critical", "signal": "error_rate", "slice": "channel=web"}
    told = {"id": f"alert-{n}", "name": f"rule {n}", "status": "firing", "severity": "critical", "labels": labels, "fired_at": AT - 60}
    told |= {"message": "error_rate is 7 % (limit 2 %)", "evidence": ("words: vpn, <token>",), "causes": ("replica r3: 97 % of it",)}
    return Item(**{**told, "fresh": True, **more})


def message(*items: Item, **more: Any) -> Message:
    about = {"id": "abc123", "group": "support/critical", "deployment": "support", "severity": "critical", "status": "firing", "at": AT}
    return Message(**{**about, "items": items or (item(),), "link": "http://gateway:8000", **more})


OVER = message(item(status="resolved", resolved_at=AT - 5), status="resolved")

# https://docs.slack.dev/reference/block-kit/blocks (50 blocks a message; header 150, section 3000 characters; text objects: mrkdwn or
# plain_text) and https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks (`text`, `blocks`; answers `ok`).
_TEXT = {"type": "object", "required": ["type", "text"], "additionalProperties": False}
_PLAIN = {"type": {"const": "plain_text"}, "emoji": {"type": "boolean"}, "text": {"maxLength": 150, "minLength": 1}}
_RICH = {"type": {"const": "mrkdwn"}, "text": {"maxLength": 3000, "minLength": 1}}
_BLOCK = {
    "header": {"text": {**_TEXT, "properties": _PLAIN}},
    "section": {"text": {**_TEXT, "properties": _RICH}},
    "context": {"elements": {"maxItems": 10, "items": {**_TEXT, "properties": _RICH}}},
}
SLACK = {
    "type": "object",
    "required": ["text", "blocks"],
    "additionalProperties": False,
    "properties": {
        "text": {"type": "string", "minLength": 1},
        "blocks": {
            "maxItems": 50,
            "items": {
                "oneOf": [
                    {
                        "properties": {"type": {"const": name}, **fields},
                        "required": ["type", *fields],
                        "additionalProperties": False,
                    }
                    for name, fields in _BLOCK.items()
                ]
            },
        },
    },
}
# https://developer.pagerduty.com/docs/send-alert-event (Events API v2): fields, their limits, what a trigger needs; answers 202.
PAGERDUTY = {
    "type": "object",
    "required": ["routing_key", "event_action"],
    "additionalProperties": False,
    "properties": {
        "routing_key": {"type": "string", "minLength": 32, "maxLength": 32},
        "event_action": {"enum": ["trigger", "acknowledge", "resolve"]},
        "dedup_key": {"type": "string", "maxLength": 255},
        "payload": {
            "type": "object",
            "required": ["summary", "source", "severity"],
            "additionalProperties": False,
            "properties": {
                "summary": {"type": "string", "minLength": 1, "maxLength": 1024},
                "source": {"type": "string", "minLength": 1},
                "severity": {"enum": ["critical", "error", "warning", "info"]},
                "timestamp": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"},
                "component": {"type": "string"},
                "group": {"type": "string"},
                "class": {"type": "string"},
                "custom_details": {"type": "object"},
            },
        },
        "client": {"type": "string"},
        "client_url": {"type": "string"},
    },
    "if": {"properties": {"event_action": {"const": "trigger"}}},
    "then": {"required": ["payload"]},
    "else": {"required": ["dedup_key"]},
}
KEY = "R" * 32


def vendor(schema: dict[str, Any], good: tuple[int, bytes], bad: tuple[int, bytes]) -> Callable[[Got], tuple[int, bytes, dict[str, str]]]:
    """A stand-in that refuses whatever its documentation does not allow."""
    checks = jsonschema.Draft202012Validator(schema)

    def answer(got: Got) -> tuple[int, bytes, dict[str, str]]:
        valid = got.headers["content-type"] == "application/json" and checks.is_valid(got.json)
        return (*(good if valid else bad), {})

    return answer


@pytest.mark.parametrize("told", [message(), OVER, message(test=True), message(*(item(n) for n in range(70)))])
def test_slack_takes_it(hook: Receiver, told: Message, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_SECRET_SLACK", f"{hook.url}/services/T0/B0/hush")
    hook.answer = vendor(SLACK, (200, b"ok"), (400, b"invalid_blocks"))
    deliver(Section(slack="${secret:SLACK}"), told)
    said = json.dumps(hook.got[0].json)
    assert hook.got[0].path == "/services/T0/B0/hush"
    assert ("TEST" in said) == told.test
    assert "&lt;token&gt;" in said or told.status == "resolved"
    assert ("and 50 more" in said) == (len(told.items) == 70)


@pytest.mark.parametrize("told", [message(), OVER, message(*(item(n) for n in range(70)))])
def test_pagerduty_takes_it(hook: Receiver, told: Message) -> None:
    hook.answer = vendor(PAGERDUTY, (202, b'{"status":"success"}'), (400, b'{"status":"invalid event"}'))
    deliver(Section.model_validate({"pagerduty": {"routing_key": KEY, "url": f"{hook.url}/v2/enqueue"}}), told)
    deliver(Section.model_validate({"pagerduty": {"routing_key": KEY, "url": f"{hook.url}/v2/enqueue"}}), OVER)
    first, last = (got.json for got in hook.got)
    assert first["dedup_key"] == last["dedup_key"], "one incident a group, opened and closed"
    assert last["event_action"] == "resolve"
    with pytest.raises(NotDelivered, match="answered 400") as refused:
        deliver(Section.model_validate({"pagerduty": {"routing_key": "short", "url": hook.url}}), told)
    assert refused.value.hopeless


texts = st.text(max_size=400)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(texts, texts, st.lists(texts, max_size=8)), min_size=1, max_size=30), texts)
def test_any_text_keeps_the_vendors_limits(drawn: list[tuple[str, str, list[str]]], name: str) -> None:
    items = [Item(f"a{n}", a, "firing", "warning", b, {"alert": a}, AT, evidence=tuple(c)) for n, (a, b, c) in enumerate(drawn)]
    told = message(*items, deployment=name or "m")
    jsonschema.validate(json.loads(slack({"url": "x"}, told).body), SLACK)
    jsonschema.validate(json.loads(pagerduty({"url": "x", "routing_key": KEY}, told).body), PAGERDUTY)
    jsonschema.validate(document(told), SCHEMA)
    mail = compose({"to": ["a@example.org"], "sender": "Penstock <p@example.org>", "tls": "none"}, told)
    assert message_from_bytes(mail.as_bytes(), policy=policy.default)["Message-ID"] == "<abc123@example.org>"


SCHEMA = json.loads(re.search(r"```json\n(\{\n  \"\$schema\".*?)```", PAGE.read_text(), re.DOTALL)[1])  # type: ignore[index]


def test_the_webhooks_document_is_as_its_page_says_and_signed(hook: Receiver) -> None:
    section = Section.model_validate({"webhook": {"url": hook.url, "headers": {"x-team": "ml"}, "sign": "a key"}})
    deliver(section, message(item(), item(1, status="resolved", resolved_at=AT)))
    (got,) = hook.got
    jsonschema.validate(got.json, SCHEMA)
    assert got.headers["x-team"] == "ml"
    assert got.headers["idempotency-key"] == "abc123"
    stamp, signed = re.fullmatch(r"t=(\d+),v1=([0-9a-f]{64})", got.headers["x-penstock-signature"]).groups()  # type: ignore[union-attr]
    assert abs(int(stamp) - time.time()) < 60
    assert hmac.new(b"a key", stamp.encode() + b"." + got.body, hashlib.sha256).hexdigest() == signed
    example = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert example is not None
    scope: dict[str, Any] = {}
    exec(example[1], scope)  # the page's own way of checking
    assert scope["genuine"](got.headers["x-penstock-signature"], got.body, "a key")
    assert not scope["genuine"](got.headers["x-penstock-signature"], got.body + b" ", "a key")
    assert not scope["genuine"](got.headers["x-penstock-signature"], got.body, "another key")


@pytest.mark.parametrize(
    ("status", "headers", "hopeless", "after_s"),
    [
        (500, {}, False, None),
        (429, {"retry-after": "120"}, False, 120.0),
        (429, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, False, None),
        (404, {}, True, None),
        (302, {"location": "http://127.0.0.1:1/"}, True, None),
    ],
)
def test_what_an_answer_means(hook: Receiver, status: int, headers: dict[str, str], hopeless: bool, after_s: float | None) -> None:
    hook.answer = lambda _: (status, b"no", headers)
    with pytest.raises(NotDelivered, match=f"answered {status}") as refused:
        deliver(Section(webhook=hook.url), message())
    assert (refused.value.hopeless, refused.value.after_s) == (hopeless, after_s)
    assert len(hook.got) == 1
    with pytest.raises(NotDelivered):
        beat(hook.url)


def test_nobody_listens() -> None:
    with pytest.raises(NotDelivered, match="cannot be reached: Connection refused") as refused:
        deliver(Section(webhook="http://127.0.0.1:9/hush"), message())
    assert not refused.value.hopeless
    assert "hush" not in str(refused.value)


def test_addresses_that_may_not_be_asked(monkeypatch: pytest.MonkeyPatch, hook: Receiver) -> None:
    for url in ("file:///etc/passwd", "ftp://example.org", "http://", "//example.org", "http://[::1", "http://169.254.169.254/latest"):
        with pytest.raises(OutboundRefused):
            deliver(Section(webhook=url), message())
    for host in ("[fe80::1]", "[::ffff:169.254.1.1]"):
        with pytest.raises(OutboundRefused, match="link-local"):
            deliver(Section(webhook=f"http://{host}/"), message())
    monkeypatch.setenv("PENSTOCK_OUTBOUND", "hooks.slack.com, *.example.org")
    with pytest.raises(OutboundRefused, match="not among the hosts"):
        deliver(Section(webhook=hook.url), message())
    with pytest.raises(OutboundRefused, match="not among the hosts"):
        deliver(Section.model_validate({"email": {"to": "a@b.c", "sender": "p@b.c", "server": "127.0.0.1:25", "tls": "none"}}), message())
    monkeypatch.setenv("PENSTOCK_OUTBOUND", f"127.0.0.1:{hook.url.rpartition(':')[2]}")
    deliver(Section(webhook=hook.url), message())
    assert hook.got


class Mailbox:
    def __init__(self) -> None:
        self.mails: list[Any] = []

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:  # noqa: ARG002  aiosmtpd calls it so
        if b"refuse me" in envelope.content:
            return "554 no"
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 ok"


@contextmanager
def smtp(certificate: Path | None = None, *, tls: bool = False, password: str | None = None) -> Iterator[tuple[Mailbox, int]]:
    """A real SMTP server on loopback: plain, STARTTLS required, or TLS from the start; with AUTH where a password is given."""
    box, context = Mailbox(), None
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)

    def login(server: Any, session: Any, envelope: Any, mechanism: str, auth: Any) -> AuthResult:  # noqa: ARG001
        good = isinstance(auth, LoginPassword) and auth.login == b"penstock" and auth.password == (password or "").encode()
        return AuthResult(success=good, handled=False)

    more: dict[str, Any] = (
        {"authenticator": login, "auth_required": True, "auth_require_tls": context is not None and not tls} if password else {}
    )
    if context is not None:
        more |= {"ssl_context": context} if tls else {"tls_context": context, "require_starttls": True}
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = Controller(box, hostname="127.0.0.1", port=port, **more)
    server.start()
    try:
        yield box, port
    finally:
        server.stop()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate of 127.0.0.1 in one file."""
    import ipaddress
    from datetime import UTC, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("certificate") / "both.pem"
    kind = serialization.PrivateFormat.PKCS8
    pem = key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption())
    path.write_bytes(pem + made.public_bytes(serialization.Encoding.PEM))
    return path


def mail(port: int, tls: str = "none", **more: Any) -> Section:
    about = {"to": ["ops@example.org", "b@example.org"], "sender": "Penstock <p@example.org>", "server": f"127.0.0.1:{port}", "tls": tls}
    return Section.model_validate({"email": {**about, **more}})


def test_mail_arrives_and_a_group_is_one_thread() -> None:
    with smtp() as (box, port):
        deliver(mail(port), message())
        deliver(mail(port), OVER)
    first, last = box.mails
    assert first["Subject"] == "[critical] support: rule 0"
    assert last["Subject"] == "[over] support: rule 0"
    assert first["To"] == "ops@example.org, b@example.org"
    assert first["References"] == last["References"] != first["Message-ID"]
    text = first.get_content()
    assert "error_rate is 7 % (limit 2 %)" in text
    assert "cause: replica r3: 97 % of it" in text


@pytest.mark.filterwarnings("ignore:Requiring AUTH:UserWarning")  # the server does not see that TLS began before it
@pytest.mark.parametrize("tls", ["starttls", "tls"])
def test_mail_is_encrypted_and_logged_in(certificate: Path, tls: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("PENSTOCK_SECRET_SMTP", "hush-hush")
    with smtp(certificate, tls=tls == "tls", password="hush-hush") as (box, port):
        deliver(mail(port, tls, user="penstock", password="${secret:SMTP}"), message())
        assert len(box.mails) == 1
        with pytest.raises(NotDelivered, match="refused the user or password") as refused:
            deliver(mail(port, tls, user="penstock", password="wrong"), message())
        assert refused.value.hopeless
        monkeypatch.delenv("SSL_CERT_FILE")
        with pytest.raises(NotDelivered, match="no encrypted connection"):
            deliver(mail(port, tls, user="penstock", password="hush-hush"), message())
    assert len(box.mails) == 1


def test_mail_that_is_refused() -> None:
    with smtp() as (_, port):
        with pytest.raises(NotDelivered, match="answered 554") as refused:
            deliver(mail(port), message(item(evidence=("refuse me",))))
        assert refused.value.hopeless
        with pytest.raises(NotDelivered, match="STARTTLS"):
            deliver(mail(port, "starttls"), message())
    with pytest.raises(NotDelivered, match="cannot be reached"):
        deliver(mail(port), message())
    assert server_of({"server": "mail.example.org", "tls": "starttls"}) == ("mail.example.org", 587)
    assert server_of({"server": "[::1]:2525", "tls": "none"}) == ("::1", 2525)


def test_a_secret_that_an_answer_repeats_is_not_told(hook: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_SECRET_TOKEN", "hush-hush-hush")
    hook.answer = lambda got: (401, b"bad token " + got.headers["authorization"].encode(), {})
    section = Section.model_validate({"webhook": {"url": hook.url, "headers": {"authorization": "Bearer ${secret:TOKEN}"}}})
    with pytest.raises(NotDelivered, match=r"bad token Bearer \[secret\]"):
        deliver(section, message())
    assert hook.got[0].headers["authorization"] == "Bearer hush-hush-hush"
    monkeypatch.delenv("PENSTOCK_SECRET_TOKEN")
    with pytest.raises(ReferenceUnset, match="TOKEN"):
        deliver(section, message())


def test_every_way_of_the_file_has_a_row() -> None:
    assert WAYS.names() == sorted(name for name in Section.model_fields if name not in ("severities", "group_wait", "group_every"))
    assert SHOWN + 4 <= 50
