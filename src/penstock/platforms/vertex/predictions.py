"""Batches as batch prediction jobs: a Model of the image with a predict route, JSON lines in Cloud Storage, results beside them.

Vertex AI makes requests of lines (`{"instances": […]}`), writes results in no order, and prints their JSON anew; instances that a replica
refuses go to files of errors, so replicas refuse none. It names jobs itself: ours is found by its display name. Source: the messages of
JobService.CreateBatchPredictionJob; "Get batch predictions from a custom trained model"; "Custom container requirements for prediction".
Not covered: BigQuery, files by instance, models without machines of their own (`automatic_resources`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from penstock.core.errors import PlatformAway
from penstock.platforms.batches import Answer, BatchOrder, answer_of
from penstock.platforms.contract import EndpointSpec, VersionSpec
from penstock.platforms.quotes import Quote, quoted
from penstock.platforms.remote.driver import Sight
from penstock.platforms.remote.machines import Machine, Need, choose
from penstock.platforms.remote.retrying import patiently
from penstock.platforms.remote.told import MORE, telling
from penstock.platforms.vertex.driver import LIVE, seen, state_of
from penstock.platforms.vertex.errors import may_pass
from penstock.platforms.vertex.google import Google, already, not_there
from penstock.platforms.vertex.hosting import busy, container_spec
from penstock.platforms.vertex.machines import HOSTING, PRICES_OF, machine_spec
from penstock.platforms.vertex.settings import labels, store_mark

if TYPE_CHECKING:
    from penstock.store.artifacts import Artifacts

ROUTE = "/predict"
MOST_BYTES = 1_500_000  # of one request, as Vertex AI says it of predictions
APPEARS_S, LOOK_S = 60.0, 0.2  # for which a model that was uploaded may not be there yet
_NEED = Need(cpus=4.0, memory_bytes=8 << 30)
_READ = ("JobService.CreateBatchPredictionJob", "JobService.ListBatchPredictionJobs")


@dataclass(slots=True)
class BatchPredictions:
    """The Batches."""

    google: Google
    artifacts: Artifacts
    service: str = "Vertex AI batch prediction"
    grouped: bool = False
    most_bytes: int = MOST_BYTES
    sleep: Callable[[float], None] = time.sleep

    def machine(self, wanted: str | None, instances: int) -> Machine:  # noqa: ARG002 (as every platform has it)
        name = wanted or self.google.settings.machine
        return choose(HOSTING, Need(machine=name) if name else _NEED, self.service)

    def quote(self, machine: Machine, instances: int) -> Quote:
        call = f"{_READ[0]}: {instances} × {machine.name}, in {self.google.settings.parent}"
        return quoted(machine, instances, False, ("ModelService.UploadModel", call), PRICES_OF if machine.usd_per_h is not None else None)

    def submit(self, order: BatchOrder) -> None:
        self._uploaded(order)
        request = {"parent": self.google.settings.parent, "batch_prediction_job": self.request(order)}
        self.google.told(_READ[0], lambda: patiently(lambda: self._created(order, request), may_pass, self.google.patience))

    def request(self, order: BatchOrder) -> dict[str, Any]:
        """The BatchPredictionJob that is asked for."""
        settings, machine = self.google.settings, choose(HOSTING, Need(machine=order.machine), self.service)
        resources = {"starting_replica_count": order.instances, "max_replica_count": order.instances}
        row: dict[str, Any] = {
            "display_name": order.name,
            "model": self._model(order),
            "input_config": {
                "instances_format": "jsonl",
                "gcs_source": {"uris": [f"{self.artifacts.note_url(order.asked)}/*"]},
            },
            "output_config": {
                "predictions_format": "jsonl",
                "gcs_destination": {"output_uri_prefix": self.artifacts.note_url(order.answered)},
            },
            "dedicated_resources": {"machine_spec": machine_spec(machine), **resources},
            "manual_batch_tuning_parameters": {
                "batch_size": max(1, min(order.rows_per_request, MOST_BYTES // max(1, order.longest_bytes + 1)))
            },
            "labels": self._labels(),
        }
        return {**row, **({"service_account": settings.service_account} if settings.service_account else {})}

    def observe(self, order: BatchOrder) -> Sight | None:
        """Of twins, which a lost answer could leave, the first one counts and the others are ended."""
        rows = self._found(order)
        for twin in rows[1:]:
            if state_of(twin) in LIVE:
                self._cancel(twin.name)
        return seen(rows[0]) if rows else None

    def cancel(self, order: BatchOrder) -> None:
        for row in self._found(order):
            self._cancel(row.name)

    def collect(self, order: BatchOrder, known: Collection[str]) -> Iterator[tuple[str, Iterator[Answer]]]:
        for name in self.artifacts.notes(order.answered):
            if name not in known and "error" not in name.rpartition("/")[2]:
                yield name, _answers(self.artifacts.get_note(name) or b"")

    def tail(self, order: BatchOrder) -> Sequence[str]:
        """What Vertex AI itself says of files that it could not read; containers' output is in Cloud Logging."""
        return [str(failure.message) for row in self._found(order)[:1] for failure in row.partial_failures]

    def remove(self, order: BatchOrder) -> None:
        """The job's row stays, as the record of what was paid; it costs nothing."""
        self.google.call("ModelService.DeleteModel", {"name": self._model(order)}, lambda error: not_there(error) or busy(error))

    def _uploaded(self, order: BatchOrder) -> None:
        settings, name = self.google.settings, self._model(order)
        if self._there(name):
            return
        told = telling(EndpointSpec(order.model, ()), VersionSpec("batch", order.bundle, 1), self.artifacts.url)
        more = json.dumps({**settings.replica, "limits": dict(order.limits)})
        spec = container_spec(settings, {**settings.environment, **told, MORE: more})
        del spec["invoke_route_prefix"]  # only one of the two may be set
        spec["predict_route"] = ROUTE
        row = {"display_name": order.name, "container_spec": spec, "labels": self._labels()}
        self.google.call("ModelService.UploadModel", {"parent": settings.parent, "model_id": order.name, "model": row}, already)
        for _ in range(int(APPEARS_S / LOOK_S)):
            if self._there(name):
                return
            self.sleep(LOOK_S)
        raise PlatformAway(f"model {order.name} was uploaded and is not there after {APPEARS_S:g} s")

    def _there(self, name: str) -> bool:
        return self.google.call("ModelService.GetModel", {"name": name}, not_there) is not None

    def _created(self, order: BatchOrder, request: dict[str, Any]) -> None:
        """The service has no token to make a call idempotent: before each we look whether it came."""
        if not self._found(order):
            self.google.once(_READ[0], request)

    def _found(self, order: BatchOrder) -> list[Any]:
        """The jobs of that name in this store's right, the oldest first."""
        mine = f'display_name="{order.name}" AND labels.penstock_store="{store_mark(self.artifacts.url)}"'
        rows = self.google.rows(_READ[1], {"parent": self.google.settings.parent, "filter": mine, "page_size": 100})
        return sorted(rows, key=lambda row: (row.create_time, row.name))

    def _cancel(self, resource: str) -> None:
        self.google.call("JobService.CancelBatchPredictionJob", {"name": resource}, not_there)

    def _model(self, order: BatchOrder) -> str:
        return f"{self.google.settings.parent}/models/{order.name}"

    def _labels(self) -> dict[str, str]:
        return labels(self.google.settings.labels, {"penstock_store": store_mark(self.artifacts.url)})


def running(google: Google, store: str) -> list[str]:
    """Display names of those that run, of the project whose artifacts are in `store`."""
    found: list[str] = []
    for state in LIVE:
        mine = f'labels.penstock_store="{store_mark(store)}" AND state="JOB_STATE_{state}"'
        request = {"parent": google.settings.parent, "filter": mine, "page_size": 100}
        found += [str(row.display_name) for row in google.rows(_READ[1], request)]
    return sorted(found)


def _answers(data: bytes) -> Iterator[Answer]:
    for line in data.splitlines():
        value = json.loads(line)
        if isinstance(value.get("prediction"), dict):
            yield answer_of(value["prediction"])
