"""TLS for the gateway: certificate and key from PEM files, read again when they change, so that a renewal needs no restart."""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from penstock.core.errors import BadInput

log = logging.getLogger("penstock.gateway")
Stamp = tuple[tuple[int, int], ...]


@dataclass(slots=True)
class Certificate:
    """`chain`: the certificate and those that signed it; `key`: its private key, unencrypted; both PEM. TLS 1.2 or newer, ALPN."""

    chain: Path
    key: Path
    context: ssl.SSLContext = field(init=False)
    _stamp: Stamp = ()

    def __post_init__(self) -> None:
        """Raises BadInput when a file is missing, is no PEM, or the two do not belong together."""
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["h2", "http/1.1"])
        self._stamp = self._stamps()
        self._load(self.context)

    def refresh(self) -> bool:
        """Loads the files again when they changed: new connections get the new certificate. A bad pair leaves the old one in force."""
        try:
            stamp = self._stamps()
        except BadInput:
            return False
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))  # a trial: half of a bad pair must not reach the one in use
            self._load(self.context)
        except BadInput as error:
            log.error("%s; the certificate that was loaded before stays", error)
            return False
        log.info("the certificate %s was read again", self.chain)
        return True

    def _stamps(self) -> Stamp:
        try:
            return tuple((facts.st_mtime_ns, facts.st_ino) for facts in (self.chain.stat(), self.key.stat()))
        except OSError as error:
            raise BadInput(f"the TLS file {error.filename} cannot be read: {error.strerror}") from error

    def _load(self, context: ssl.SSLContext) -> None:
        try:
            context.load_cert_chain(self.chain, self.key, password=_no_password)
        except (ssl.SSLError, OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or str(error)
            raise BadInput(
                f"{self.chain} and {self.key} cannot be used for TLS: {reason}",
                remedy="Give a PEM certificate chain and its own unencrypted PEM private key.",
            ) from error


def _no_password() -> str:
    raise ValueError("the private key is encrypted")
