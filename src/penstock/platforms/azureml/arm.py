"""Calls to Azure Resource Manager and the workspace's run history: JSON over azure-core's pipeline, one version of the API.

What may pass is tried again, no sooner than Azure asks; refusals become our errors. A change that takes longer is not waited for: the
answer says where Azure tells what became of it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from penstock.core.errors import ExtraMissing, PlatformDenied
from penstock.platforms.azureml.errors import Refusal, asked_to_wait_s, is_azures, may_pass, refusal_of, translated
from penstock.platforms.remote.retrying import Calls, Patience
from penstock.platforms.remote.throttling import Throttle
from penstock.spec.platforms.azureml import AzureMLPlatform

API_VERSION = "2026-05-01"
SCALE, ALARM, BOARD = "Microsoft.Insights/autoscaleSettings", "Microsoft.Insights/metricAlerts", "Microsoft.Portal/dashboards"
BESIDE = {SCALE: "2022-10-01", ALARM: "2018-03-01", BOARD: "2020-09-01-preview"}
CONNECT_S, READ_S = 10, 60
MANAGEMENT = "https://management.azure.com"
ARM_SCOPE = f"{MANAGEMENT}/.default"
# Scopes of tokens: an endpoint, and the place where metrics go, take none of Resource Manager's.
SCORING, MONITORING = "https://ml.azure.com/.default", "https://monitoring.azure.com/.default"
DEPLOYED = "azureml-model-deployment"  # the header that chooses one of an endpoint's deployments
Known = Callable[[Refusal], bool]


@dataclass(frozen=True, slots=True)
class Answer:
    """`operation`: where Azure tells what became of a change that it only began; empty where it is done."""

    body: Mapping[str, Any]
    operation: str = ""


@dataclass(slots=True)
class Arm:
    """Credentials are found by Azure's default chain, and looked for anew after a refusal: so a new sign-in is seen."""

    settings: AzureMLPlatform
    patience: Patience = field(default_factory=Patience)
    throttle: Throttle | None = None
    root: str = ""  # resource id that `call` asks below; empty: the workspace
    _client: Any = None

    @property
    def group(self) -> str:
        return f"/subscriptions/{self.settings.subscription}/resourceGroups/{self.settings.resource_group}"

    @property
    def workspace(self) -> str:
        """Resource id."""
        return f"{self.group}/providers/Microsoft.MachineLearningServices/workspaces/{self.settings.workspace}"

    @property
    def _base(self) -> str:
        return (self.settings.endpoint_url or MANAGEMENT).rstrip("/")

    def call(
        self, method: str, below: str, body: Any = None, known: Known | None = None, query: Mapping[str, str] | None = None
    ) -> Answer | None:
        """`below` the root. None for a refusal that the caller `known`, as "it is not there".

        Raises PlatformDenied, PlatformFull, PlatformAway, BadInput (Azure does not take the values), ExtraMissing.
        """
        url = f"{self._base}{self.root or self.workspace}/{below}"
        return self._asked(method, url, f"{method} {below}", body, known, {"api-version": API_VERSION, **(query or {})})

    def beside(self, kind: str, method: str, name: str = "", body: Any = None, known: Known | None = None) -> Answer | None:
        """A resource of the workspace's group of a kind of BESIDE, or all of that kind."""
        address = f"{self._base}{self.group}/providers/{kind}{'/' if name else ''}{name}"
        return self._asked(method, address, f"{method} {kind}", body, known, {"api-version": BESIDE[kind]})

    def publish(self, body: Any) -> None:
        """Values of one metric, about the workspace, to Azure Monitor."""
        base = self.settings.endpoint_url or f"https://{self.settings.region}.monitoring.azure.com"
        self._asked("POST", f"{base.rstrip('/')}{self.workspace}/metrics", "POST metrics", body, None, {}, scope=MONITORING)

    def history(self, run: str, known: Known | None = None) -> Answer | None:
        """What the run history knows of a job: RunDetails."""
        base = self.settings.endpoint_url or f"https://{self.settings.region}.api.azureml.ms"
        return self._asked("GET", f"{base.rstrip('/')}/history/v1.0{self.workspace}/runs/{run}/details", f"GET runs/{run}", None, known, {})

    def operation(self, address: str) -> Mapping[str, Any] | None:
        """`{"status", "error"}` of a change that was begun; None once Azure forgot it."""
        found = self._asked("GET", address, "GET operation", None, not_there, {})
        return None if found is None else found.body

    def pages(self, below: str, known: Known | None = None, **query: str) -> Iterator[Mapping[str, Any]]:
        """The rows of all pages of a list; none where Azure refused it with what is `known`."""
        answer = self.call("GET", below, known=known, query=query)
        while answer is not None:
            yield from answer.body.get("value", ())
            following = answer.body.get("nextLink")
            answer = self._asked("GET", following, f"GET {below}", None, known, {}) if following else None

    def text(self, address: str) -> str:
        """A file by its signed address, which needs no credentials of ours; empty when it is not there."""
        found = self._asked("GET", address, "GET log", None, lambda refusal: refusal.status in (403, 404), {}, plain=True)
        return "" if found is None else str(found.body["text"])

    def upload(self, address: str, file: Path) -> None:
        """A file to its signed address in Blob Storage."""
        self._asked("PUT", address, "PUT blob", None, None, {}, file=file, plain=True, told={"x-ms-blob-type": "BlockBlob"})

    def score(self, address: str, deployment: str, path: str, known: Known | None = None, token: str = "") -> Answer | None:
        """An empty body posted to one deployment of an endpoint, for the route `path` of the replica behind. `token`: of the endpoint."""
        told = {DEPLOYED: deployment, "x-penstock-path": path}
        how: dict[str, Any] = {"bearer": token} if token else {"scope": SCORING}
        return self._asked("POST", address, f"POST score of {deployment}", {}, known, {}, told=told, **how)

    def token_of(self, endpoint: str) -> tuple[str, float]:
        """A token of an endpoint that takes none of Entra, and when to ask for another, in seconds since the epoch."""
        found = self.call("POST", f"onlineEndpoints/{endpoint}/token")
        assert found is not None
        return str(found.body["accessToken"]), float(found.body["refreshAfterTimeUtc"])

    def token_url(self, endpoint: str) -> str:
        """Where `token_of` asks."""
        return f"{self._base}{self.workspace}/onlineEndpoints/{endpoint}/token?api-version={API_VERSION}"

    def invoke(self, address: str, deployment: str, body: Any) -> None:
        """Starts a job of a batch endpoint. One try: it is not idempotent."""
        self._asked("POST", address, f"POST {deployment}", body, None, {}, told={DEPLOYED: deployment}, scope=SCORING, once=True)

    def _asked(
        self, method: str, url: str, doing: str, body: Any, known: Known | None, query: Mapping[str, str], *, once: bool = False, **how: Any
    ) -> Answer | None:
        if self._client is None:
            self._client = client_of(self.settings)
        try:
            calls = Calls(replace(self.patience, attempts=1) if once else self.patience, self.throttle)
            return calls.make(_kind(doing), lambda: self._sent(method, url, body, query, **how), may_pass, throttled, asked_to_wait_s)
        except Exception as error:
            if known is not None and isinstance(error, Refusal) and known(error):
                return None
            if not is_azures(error):
                raise
            told = translated(error, doing)
            if isinstance(told, PlatformDenied):
                self._client = None
            raise told from error

    def _sent(
        self,
        method: str,
        url: str,
        body: Any,
        query: Mapping[str, str],
        *,
        plain: bool = False,
        scope: str = "",
        bearer: str = "",
        file: Path | None = None,
        told: Mapping[str, str] | None = None,
    ) -> Answer:
        """`plain`: signed by its address, any text; `scope`: of the token, if not Resource Manager's; `bearer`: a token that is at hand;
        `file`: the body; `told`: headers.
        """
        from azure.core.rest import HttpRequest

        signed = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        limits: dict[str, Any] = {"connection_timeout": CONNECT_S, "read_timeout": READ_S}
        with contextlib.ExitStack() as held:
            more: dict[str, Any] = {"json": body} if body is not None else {}
            if file is not None:
                more["content"] = held.enter_context(file.open("rb")) if file.stat().st_size else b""
            request = HttpRequest(method, url, params=dict(query), headers={**(told or {}), **signed}, **more)
            if plain or bearer:
                answer = self._client.plain.send_request(request, **limits)
            else:
                # An emulator on this machine has no certificate; a bearer token goes to nobody else without TLS.
                answer = self._client.signed(scope).send_request(request, enforce_https=not _is_here(url), **limits)
        if answer.status_code >= 400:
            raise refusal_of(answer.status_code, answer.content, answer.headers.get("Retry-After"))
        if plain:
            return Answer({"text": answer.content.decode("utf-8", "replace")})
        given = json.loads(answer.content) if answer.content.strip() else {}
        return Answer(given, answer.headers.get("Azure-AsyncOperation", ""))


@dataclass(frozen=True, slots=True)
class Clients:
    """`plain`: without a token; `others`: by scope, made when first used."""

    arm: Any
    plain: Any
    other: Callable[[str], Any]
    others: dict[str, Any] = field(default_factory=dict)

    def signed(self, scope: str) -> Any:
        if not scope:
            return self.arm
        if scope not in self.others:
            self.others[scope] = self.other(scope)
        return self.others[scope]


def client_of(settings: AzureMLPlatform) -> Clients:
    """Raises ExtraMissing."""
    try:
        from azure.core import PipelineClient
        from azure.core.pipeline.policies import BearerTokenCredentialPolicy, HeadersPolicy, RequestIdPolicy, UserAgentPolicy
        from azure.mgmt.core import ARMPipelineClient
        from azure.mgmt.core.policies import ARMChallengeAuthenticationPolicy
    except ModuleNotFoundError as error:
        raise ExtraMissing(
            "platform 'azureml' needs azure-mgmt-core and azure-identity, which are not installed",
            remedy="Run: pip install 'penstock[azure]'",
        ) from error
    base, chain = settings.endpoint_url or MANAGEMENT, credential()
    told = [RequestIdPolicy(), HeadersPolicy(), UserAgentPolicy("penstock")]
    # No policy that tries again: for how long and how often is said in one place (retrying.py).
    return Clients(
        ARMPipelineClient(base, policies=[*told, ARMChallengeAuthenticationPolicy(chain, ARM_SCOPE)]),
        PipelineClient(base, policies=told),
        lambda scope: PipelineClient(base, policies=[*told, BearerTokenCredentialPolicy(chain, scope)]),
    )


def credential() -> Any:
    """Azure's default chain. Raises ExtraMissing."""
    try:
        from azure.identity import DefaultAzureCredential
    except ModuleNotFoundError as error:
        raise ExtraMissing(
            "platform 'azureml' needs azure-identity, which is not installed", remedy="Run: pip install 'penstock[azure]'"
        ) from error
    return DefaultAzureCredential()


def throttled(error: Exception) -> bool:
    return isinstance(error, Refusal) and error.status == 429


def _kind(doing: str) -> str:
    """What Azure counts together: reads, writes, deletions."""
    return doing.partition(" ")[0]


def not_there(refusal: Refusal) -> bool:
    return refusal.status == 404


def busy(refusal: Refusal) -> bool:
    """It is being made, changed or taken away: ask again later."""
    return refusal.status == 409


def _is_here(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "http://localhost:", "http://[::1]:"))
