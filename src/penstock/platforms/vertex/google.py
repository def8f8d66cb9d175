"""Calls to Google: one client a service, made when first used; what may pass is tried again; refusals become our errors.

`endpoint_url` of the section leads all services to one address without TLS: the emulator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from penstock.core.errors import ExtraMissing, PenstockError, PlatformDenied, UpstreamRefused
from penstock.platforms.remote.retrying import Calls, Patience
from penstock.platforms.remote.throttling import Throttle
from penstock.platforms.vertex.errors import may_pass, reason_of, translated
from penstock.platforms.vertex.settings import Settings

CALL_S = 60.0
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
Known = Callable[[Exception], bool]
_SERVICES = {
    "JobService": ("google.cloud.aiplatform_v1.services.job_service", "JobServiceClient"),
    "EndpointService": ("google.cloud.aiplatform_v1.services.endpoint_service", "EndpointServiceClient"),
    "PipelineService": ("google.cloud.aiplatform_v1.services.pipeline_service", "PipelineServiceClient"),
    "ModelService": ("google.cloud.aiplatform_v1.services.model_service", "ModelServiceClient"),
    "Logging": ("google.cloud.logging_v2.services.logging_service_v2", "LoggingServiceV2Client"),
    "Alerts": ("google.cloud.monitoring_v3.services.alert_policy_service", "AlertPolicyServiceClient"),
    "Dashboards": ("google.cloud.monitoring_dashboard_v1.services.dashboards_service", "DashboardsServiceClient"),
    "Monitoring": ("google.cloud.monitoring_v3.services.metric_service", "MetricServiceClient"),
}


@dataclass(slots=True)
class Google:
    """Credentials are found by Google's own chain, and looked for anew after a refusal: so a new sign-in is seen."""

    settings: Settings
    patience: Patience = field(default_factory=Patience)
    throttle: Throttle | None = None
    _clients: dict[str, Any] = field(default_factory=dict)
    _credentials: Any = None

    def call(self, operation: str, request: dict[str, Any], known: Known | None = None) -> Any:
        """`operation`: "Service.Method". None for a refusal that the caller `known`, as "it is not there". Tried again while it may pass.

        Raises PlatformDenied, PlatformFull, PlatformAway, BadInput (the service does not take the values), ExtraMissing.
        """
        calls = Calls(self.patience, self.throttle)
        return self.told(
            operation, lambda: calls.make(_counted(operation), lambda: self.once(operation, request), may_pass, throttled), known
        )

    def once(self, operation: str, request: dict[str, Any]) -> Any:
        """One try. Raises what Google's library raises. A list comes as its first page."""
        service, _, name = operation.partition(".")
        return getattr(self.client(service), _snake(name))(request=request, retry=None, timeout=CALL_S)

    def told(self, operation: str, call: Callable[[], Any], known: Known | None = None) -> Any:
        """What `call` gives; what it raises as our errors."""
        try:
            return call()
        except PenstockError:
            raise
        except Exception as error:
            if known is not None and known(error):
                return None
            told = translated(error, operation)
            if isinstance(told, PlatformDenied):
                self._clients.clear()
                self._credentials = None
            raise told from error

    def rows(self, operation: str, request: dict[str, Any]) -> Iterator[Any]:
        """The rows of all pages of a list."""
        token = ""
        while True:
            page = next(iter(self.call(operation, {**request, "page_token": token}).pages))
            yield from next(value for name, value in _fields(page) if name not in ("next_page_token", "unreachable"))
            token = page.next_page_token
            if not token:
                return

    def client(self, service: str) -> Any:
        if service not in self._clients:
            try:
                self._clients[service] = self._made(service)
            except ModuleNotFoundError as error:
                raise ExtraMissing(
                    f"platform 'vertex' needs {error.name}, which is not installed", remedy="Run: pip install 'penstock[vertex]'"
                ) from error
        return self._clients[service]

    def _made(self, service: str) -> Any:
        from importlib import import_module

        module, name = _SERVICES[service]
        if self._credentials is None:
            self._credentials = found_credentials()
        kind, credentials = getattr(import_module(module), name), self._credentials
        if self.settings.endpoint_url:
            return kind(transport=kind.get_transport_class("grpc")(channel=_plain_channel(self.settings.endpoint_url, credentials)))
        from google.api_core.client_options import ClientOptions

        regional = ClientOptions(api_endpoint=f"{self.settings.region}-aiplatform.googleapis.com")
        return kind(credentials=credentials, client_options=regional if "aiplatform" in module else None)


def found_credentials() -> Any:
    """Google's application default credentials. Raises google.auth's errors."""
    import google.auth

    credentials, _ = google.auth.default(scopes=[SCOPE])
    return credentials


def throttled(error: Exception) -> bool:
    return reason_of(error) == "RATE_LIMIT_EXCEEDED"


def fresh(credentials: Any = None) -> Any:
    """Credentials with a token that holds. Raises UpstreamRefused (401)."""
    from google.auth.exceptions import GoogleAuthError
    from google.auth.transport.requests import Request

    try:
        credentials = credentials or found_credentials()
        credentials.refresh(Request())
    except GoogleAuthError as error:
        raise UpstreamRefused(f"Google gave no token: {error}; sign in (`gcloud auth application-default login`)", 401) from error
    return credentials


def not_there(error: Exception) -> bool:
    from google.api_core.exceptions import NotFound

    return isinstance(error, NotFound)


def already(error: Exception) -> bool:
    from google.api_core.exceptions import AlreadyExists

    return isinstance(error, AlreadyExists)


def _counted(operation: str) -> str:
    """What Google counts together: all calls that manage resources of Vertex AI in a region, and each other service's."""
    service = operation.partition(".")[0]
    return "Vertex AI" if "aiplatform" in _SERVICES[service][0] else service


def _plain_channel(url: str, credentials: Any) -> Any:
    """A channel without TLS whose calls bring the token all the same."""
    import grpc
    from google.auth.transport.requests import Request

    class Bearer(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
        def intercept_unary_unary(self, proceed: Any, details: Any, request: Any) -> Any:
            if not credentials.valid:
                credentials.refresh(Request())
            metadata = [*(details.metadata or ()), ("authorization", f"Bearer {credentials.token}")]
            return proceed(details._replace(metadata=metadata), request)

    return grpc.intercept_channel(grpc.insecure_channel(url.partition("://")[2]), Bearer())


def _fields(page: Any) -> list[tuple[str, Any]]:
    return [(name, getattr(page, name)) for name in type(page).meta.fields]


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
