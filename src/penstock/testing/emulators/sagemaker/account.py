"""One account in one region: what is in it, what it may have, and what runs its containers."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import Any

from penstock.platforms.remote.driver import Order
from penstock.platforms.remote.machines import Machine
from penstock.testing.containers import Processes
from penstock.testing.emulators.faults import Faults
from penstock.testing.emulators.sagemaker.errors import AwsError, invalid
from penstock.testing.emulators.sagemaker.signing import Identities

NUMBER, REGION = "123456789012", "us-east-1"
ROLE = f"arn:aws:iam::{NUMBER}:role/penstock"
IMAGE = f"{NUMBER}.dkr.ecr.{REGION}.amazonaws.com/penstock:latest"
PAGE = 10  # of a list without MaxResults
MACHINES: dict[str, Account] = {}  # whose a state machine is, by ARN: moto keeps those of all accounts of this process together
_HERE = Machine("here", 1, 1 << 30)


@dataclass(slots=True)
class Account:
    """`quotas`: instances at once by the service's own name of the quota ("ml.g5.xlarge for training job usage"); what is not named has
    room. `dry`: instance types of which none is free now. `start_s`: for which a job or an instance is being prepared;
    `capture_s`: for which captured requests gather in one object.
    """

    folder: Path
    aws: Mapping[str, str]  # environment of whoever calls the services beside this one
    region: str = REGION
    roles: set[str] = field(default_factory=lambda: {ROLE})
    images: set[str] = field(default_factory=lambda: {IMAGE})
    quotas: dict[str, int] = field(default_factory=dict)
    dry: set[str] = field(default_factory=set)
    start_s: float = 0.0
    capture_s: float = 0.0
    faults: Faults = field(default_factory=Faults)
    identities: Identities = field(default_factory=Identities)
    lock: RLock = field(default_factory=RLock)
    clock: Callable[[], float] = time.time
    things: dict[str, dict[str, Any]] = field(default_factory=dict)  # kind → name → what it is
    tags: dict[str, dict[str, str]] = field(default_factory=dict)  # by ARN
    processes: Processes = field(init=False)
    _clients: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.processes = Processes(self.folder / "containers", platform="sagemaker", grace_s=5.0)

    def of(self, kind: str) -> dict[str, Any]:
        return self.things.setdefault(kind, {})

    def arn(self, kind: str, name: str) -> str:
        return f"arn:aws:sagemaker:{self.region}:{NUMBER}:{kind}/{name.lower()}"

    def tag(self, arn: str, tags: Sequence[Mapping[str, str]] | None) -> None:
        self.tags.setdefault(arn, {}).update({row["Key"]: row["Value"] for row in tags or ()})

    def assume(self, role: str) -> None:
        if role not in self.roles:
            raise invalid(
                f"Could not assume role {role}. Please ensure that the role exists and allows principal 'sagemaker.amazonaws.com' "
                "to assume the role."
            )

    def run(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """A container of the image that is Penstock's: its entry point is `penstock`."""
        self.processes.create(Order(name, command, {**self.aws, **environment}, _HERE))

    def training(self) -> Any:
        """A client of SageMaker, as other services of AWS are."""
        return self.client("sagemaker", self.aws["AWS_ENDPOINT_URL_SAGEMAKER"])

    def client(self, service: str, url: str = "") -> Any:
        """For S3, CloudWatch and its logs, as the service itself calls them."""
        with self.lock:
            if service not in self._clients:
                import boto3
                from botocore.config import Config

                session = boto3.session.Session(  # boto3's own one, which a test may use in its thread, makes one client at a time only
                    region_name=self.region,
                    aws_access_key_id=self.aws["AWS_ACCESS_KEY_ID"],
                    aws_secret_access_key=self.aws["AWS_SECRET_ACCESS_KEY"],
                )
                self._clients[service] = session.client(
                    service, endpoint_url=url or self.aws["AWS_ENDPOINT_URL"], config=Config(retries={"total_max_attempts": 1})
                )
            return self._clients[service]


@dataclass(slots=True)
class Log:
    """A container's output on its way to CloudWatch Logs; `sent` lines are there."""

    container: str
    group: str
    stream: str
    sent: int = 0

    def ship(self, account: Account) -> None:
        path = account.processes.folder / self.container / "log"
        lines = path.read_text("utf-8", "replace").split("\n")[:-1] if path.exists() else []
        new = [line for line in lines[self.sent :] if line]
        if not new:
            return
        logs = account.client("logs")
        if not self.sent:
            _quietly(lambda: logs.create_log_group(logGroupName=self.group), logs)
            _quietly(lambda: logs.create_log_stream(logGroupName=self.group, logStreamName=self.stream), logs)
        now = int(time.time() * 1000)
        events = [{"timestamp": now, "message": line} for line in new]
        logs.put_log_events(logGroupName=self.group, logStreamName=self.stream, logEvents=events)
        self.sent = len(lines)


def check_tags(tags: Sequence[Mapping[str, str]]) -> None:
    if any(row["Key"].lower().startswith("aws:") for row in tags):
        raise invalid("aws: prefixed tag key names are not allowed for external use.")
    if len({row["Key"] for row in tags}) != len(tags):
        raise invalid("Duplicate tag keys found.")


def _quietly(call: Callable[[], object], logs: Any) -> None:
    try:
        call()
    except logs.exceptions.ResourceAlreadyExistsException:
        return


def page(rows: Sequence[Any], request: Mapping[str, Any], key: str, show: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """A page of a list. The token names where it goes on and for which question; another question's is refused."""
    size = request.get("MaxResults") or PAGE
    question = {name: value for name, value in request.items() if name not in ("NextToken", "MaxResults")}
    mark = json.dumps(question, sort_keys=True, default=str)
    begin = 0
    if request.get("NextToken"):
        try:
            told = json.loads(base64.b64decode(request["NextToken"]))
            begin = int(told["at"])
        except (ValueError, KeyError):
            raise AwsError("ValidationException", "Invalid pagination token given.") from None
        if told["for"] != mark:
            raise invalid("The pagination token was given for another request.")
    answer: dict[str, Any] = {key: [show(row) for row in rows[begin : begin + size]]}
    if begin + size < len(rows):
        answer["NextToken"] = base64.b64encode(json.dumps({"at": begin + size, "for": mark}).encode()).decode()
    return answer
