"""`httpx.get(url, **PLAIN)`: of a server on this machine, without its proxies and its certificates, read anew for every call (20 ms)."""

import ssl
from typing import Any

PLAIN: dict[str, Any] = {"trust_env": False, "verify": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)}
