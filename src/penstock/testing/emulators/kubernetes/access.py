"""Who may speak to the cluster: one token, in a file as kubectl reads it."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from penstock.testing.emulators.kubernetes.server import Api


@dataclass(slots=True)
class Access:
    api: Api
    kubeconfig: Path
    url: str = ""

    def expire(self) -> str:
        """Nobody's token counts any more; the new one, for `renew`."""
        self.api.token = secrets.token_hex(16)
        return self.api.token

    def renew(self) -> None:
        value = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "emulated",
            "contexts": [{"name": "emulated", "context": {"cluster": "emulated", "user": "emulated", "namespace": "default"}}],
            "clusters": [{"name": "emulated", "cluster": {"server": self.url, "certificate-authority": "tls.crt"}}],
            "users": [{"name": "emulated", "user": {"token": self.api.token}}],
        }
        self.kubeconfig.write_text(json.dumps(value))
