"""E-mail by SMTP: encrypted from the first byte (`tls`), after STARTTLS, or not at all; logged in where a user is named."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import Any

from penstock.control.alerts.notify.contract import Message
from penstock.control.alerts.words import clock
from penstock.core.errors import NotDelivered
from penstock.core.outbound import check_host

TIMEOUT_S = 5.0
_PORTS = {"tls": 465, "starttls": 587, "none": 25}


class Email:
    refresh_s: float | None = None

    def send(self, settings: Mapping[str, Any], message: Message) -> None:
        host, port = server_of(settings)
        check_host(host, port)
        mail = compose(settings, message)
        try:
            with _connected(settings["tls"], host, port) as server:
                if settings.get("user"):
                    server.login(settings["user"], settings.get("password") or "")
                server.send_message(mail)
        except smtplib.SMTPAuthenticationError as error:
            raise NotDelivered(f"{host} refused the user or password (SMTP {error.smtp_code})", hopeless=True) from None
        except smtplib.SMTPResponseException as error:
            said = error.smtp_error.decode("utf-8", "replace") if isinstance(error.smtp_error, bytes) else str(error.smtp_error)
            raise NotDelivered(f"{host} answered {error.smtp_code}: {said[:200]}", hopeless=error.smtp_code >= 500) from None
        except smtplib.SMTPRecipientsRefused as error:
            codes = sorted({code for code, _ in error.recipients.values()})
            raise NotDelivered(f"{host} refused every address ({codes[0]})", hopeless=codes[0] >= 500) from None
        except smtplib.SMTPNotSupportedError as error:
            raise NotDelivered(f"{host}: {error}", hopeless=True) from None
        except smtplib.SMTPException as error:
            raise NotDelivered(f"{host}: {type(error).__name__}") from None


def compose(settings: Mapping[str, Any], message: Message) -> EmailMessage:
    """Plain text. A message that is sent again has the same Message-ID; those of a group refer to one another, so they make one thread."""
    mail, domain = EmailMessage(), parseaddr(settings["sender"])[1].partition("@")[2] or "penstock.invalid"
    mail["Subject"] = message.title
    mail["From"] = settings["sender"]
    mail["To"] = ", ".join(settings["to"])
    mail["Date"] = format_datetime(datetime.fromtimestamp(message.at, UTC))
    mail["Message-ID"] = f"<{message.id}@{domain}>"
    mail["References"] = f"<{'.'.join(part for part in message.group.split('/'))}.penstock@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    link = [f"Deployment: {message.deployment}" + (f" at {message.link}" if message.link else "")]
    mail.set_content("\n".join([*message.lines(), "", *link, f"Sent {clock(message.at)} by Penstock, message {message.id}."]))
    return mail


def server_of(settings: Mapping[str, Any]) -> tuple[str, int]:
    """`mail.example.org:587`, `[::1]:25`, or a host alone with the port that its encryption usually has."""
    host, colon, port = str(settings["server"]).rpartition(":")
    if not colon or not port.isdigit():
        host, port = str(settings["server"]), ""
    return host.strip("[]"), int(port) if port else _PORTS[settings["tls"]]


def _connected(tls: str, host: str, port: int) -> smtplib.SMTP:
    context = ssl.create_default_context()
    if tls == "tls":
        return smtplib.SMTP_SSL(host, port, timeout=TIMEOUT_S, context=context)
    server = smtplib.SMTP(host, port, timeout=TIMEOUT_S)
    if tls == "starttls":
        try:
            server.starttls(context=context)
        except BaseException:
            server.close()
            raise
    return server


EMAIL = Email()
