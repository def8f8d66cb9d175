"""What an HTTP request means, which route it is for, and the shapes of answers: JSON, a page of a list, a change that was begun."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from penstock.testing.emulators.azure.errors import ArmError
from penstock.testing.emulators.azure.identity import ARM
from penstock.testing.emulators.azure.schemas import API_VERSION
from penstock.testing.emulators.azure.workspace import LARGEST, PAGE, REGION, SUBSCRIPTION, Operation, Workspace
from penstock.testing.emulators.http import Reply

OPERATIONS = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.MachineLearningServices/locations/{REGION}/mfeOperationsStatus"


@dataclass(slots=True)
class Meant:
    """What an HTTP request is about; names of headers in lower case; `names`: what the address names, outermost first."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    names: Sequence[str] = ()

    def json(self) -> Any:
        try:
            return json.loads(self.body or b"null")
        except ValueError:
            raise ArmError(400, "InvalidRequestContent", "The request content was invalid and could not be deserialized.") from None


Handler = Callable[[Workspace, Meant], Reply]


@dataclass(frozen=True, slots=True)
class Route:
    """`action`: what whoever asks must be allowed to do; `version`: of the API."""

    method: str
    address: re.Pattern[str]
    name: str
    action: str
    handle: Handler
    version: str = API_VERSION
    audience: str = ARM


def as_json(status: int, value: Any, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(status, json.dumps(value).encode(), {"content-type": "application/json; charset=utf-8", **(headers or {})})


def as_pending(workspace: Workspace, operation: Operation, status: int, body: Any = None) -> Reply:
    """Accepted: where to look what became of it."""
    place = f"{workspace.url}{OPERATIONS}/{operation.id}?api-version={API_VERSION}"
    told = {"azure-asyncoperation": place, "location": place, "retry-after": "1"}
    return as_json(status, body, told) if body is not None else Reply(status, b"", told)


def as_page(workspace: Workspace, asked: Meant, rows: Sequence[Any]) -> Reply:
    begin = asked.query.get("$skip", "0")
    if not begin.isdigit():
        raise ArmError(400, "UserError", f"Invalid $skip: {begin}")
    at, more = int(begin), {}
    size = min(int(asked.query.get("count") or PAGE), LARGEST)
    if at + size < len(rows):
        kept = "&".join(f"{name}={quote(value)}" for name, value in asked.query.items() if name != "$skip")
        more = {"nextLink": f"{workspace.url}{quote(asked.path)}?{kept}&%24skip={at + size}"}
    return as_json(200, {"value": list(rows[at : at + size]), **more})
