"""Calls to AWS: one client a service, made when first used; what may pass is tried again; refusals become our errors."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.core.errors import ExtraMissing, PenstockError, PlatformDenied
from penstock.platforms.remote.retrying import Calls, Patience
from penstock.platforms.remote.throttling import Throttle
from penstock.platforms.sagemaker.errors import THROTTLED, code_of, may_pass, translated
from penstock.platforms.sagemaker.settings import Settings

CONNECT_S, READ_S = 10.0, 60.0
Known = Callable[[str, str], bool]


@dataclass(slots=True)
class Aws:
    """Credentials are found by AWS's own chain, and looked for anew after a refusal: so a new sign-in is seen."""

    settings: Settings
    patience: Patience = field(default_factory=Patience)
    throttle: Throttle | None = None
    _clients: dict[str, Any] = field(default_factory=dict)

    def call(self, operation: str, known: Known | None = None, **parameters: Any) -> dict[str, Any] | None:
        """`operation`: "service:Operation". None for a refusal that the caller `known` (code, message), as "it is not there".

        Raises PlatformDenied, PlatformFull, PlatformAway, BadInput (the service does not take the values), ExtraMissing.
        """
        service, _, name = operation.partition(":")
        client = self.client(service)
        method = getattr(client, _snake(name))
        try:
            answer: dict[str, Any] = Calls(self.patience, self.throttle).make(operation, lambda: method(**parameters), may_pass, throttled)
        except PenstockError:
            raise
        except Exception as error:
            code, message, _ = code_of(error)
            if known is not None and known(code, message):
                return None
            told = translated(error, operation)
            if isinstance(told, PlatformDenied):
                self._clients.clear()
            raise told from error
        return answer

    def pages(self, operation: str, key: str, token: str = "NextToken", **parameters: Any) -> Iterator[Mapping[str, Any]]:
        """The rows of all pages of a list."""
        more: dict[str, Any] = {}
        while True:
            answer = self.call(operation, **parameters, **more) or {}
            yield from answer.get(key, ())
            following = answer.get(token)
            if not following or following == more.get(token):
                return
            more = {token: following}

    def client(self, service: str) -> Any:
        if service not in self._clients:
            try:
                from botocore.config import Config
                from botocore.session import Session
            except ModuleNotFoundError as error:
                raise ExtraMissing(
                    "platform 'sagemaker' needs boto3, which is not installed", remedy="Run: pip install 'penstock[sagemaker]'"
                ) from error
            # One try a call: what is tried again, and for how long, is said in one place (retrying.py).
            config = Config(retries={"total_max_attempts": 1}, connect_timeout=CONNECT_S, read_timeout=READ_S, user_agent_extra="penstock")
            url = self.settings.endpoint_url if service.startswith("sagemaker") else None
            try:
                session = Session()
                session.register_component("data_loader", _descriptions(session.get_config_variable("data_path")))
                self._clients[service] = session.create_client(service, self.settings.region, config=config, endpoint_url=url)
            except Exception as error:
                raise translated(error, service) from error
        return self._clients[service]


@functools.cache
def _descriptions(data_path: str | None) -> Any:
    """Of AWS's services, read once in a process: SageMaker's alone are some megabytes of JSON, and sessions share nothing by themselves."""
    from botocore.loaders import create_loader

    return create_loader(data_path)


def not_there(code: str, message: str) -> bool:
    """SageMaker says that a thing is not there in several ways."""
    return code == "ResourceNotFound" or (code == "ValidationException" and ("Could not find" in message or "not found" in message))


def already(code: str, message: str) -> bool:
    return code == "ResourceInUse" or (code == "ValidationException" and "already exist" in message)


def throttled(error: Exception) -> bool:
    return code_of(error)[0] in THROTTLED


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
