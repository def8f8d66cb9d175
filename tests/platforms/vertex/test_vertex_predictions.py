"""Batches by Vertex AI's batch prediction: the conformance suite, and what the emulator refuses as the service does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from penstock.core.errors import BadInput
from penstock.platforms.vertex.google import Google
from penstock.platforms.vertex.settings import settings_of
from penstock.testing.emulators.vertex import VertexAI
from penstock.testing.emulators.vertex.predictions import KIND
from penstock.testing.vendor_batch_suite import VendorBatchConformance


class TestBatchPrediction(VendorBatchConformance):
    creates = ("UploadModel", "CreateBatchPredictionJob")
    looks = "ListBatchPredictionJobs"

    @pytest.fixture(autouse=True)
    def _cloud(self, cloud: VertexAI) -> None:
        self.cloud = cloud

    def place(self, **replica: Any) -> tuple[str, dict[str, Any]]:
        return f"{self.cloud.bucket()}/store", self.cloud.section(replica=replica)

    def state(self) -> Any:
        return self.cloud.here

    def made(self) -> Sequence[str]:
        return [job.row.display_name for job in self.cloud.here.of(KIND).values()]

    def asked(self) -> int:
        return sum(job.asked for job in self.cloud.here.of(KIND).values())

    def exhaust(self) -> None:
        self.cloud.here.quotas["custom_model_serving_cpus"] = 3


def test_the_emulator_refuses_what_the_service_does(cloud: VertexAI) -> None:
    google = Google(settings_of(cloud.section()))
    good: dict[str, Any] = {
        "display_name": "job",
        "model": f"{cloud.here.parent}/models/m",
        "input_config": {"instances_format": "jsonl", "gcs_source": {"uris": ["gs://b/in.jsonl"]}},
        "output_config": {"predictions_format": "jsonl", "gcs_destination": {"output_uri_prefix": "gs://b/out"}},
        "dedicated_resources": {"machine_spec": {"machine_type": "n1-standard-4"}, "starting_replica_count": 2, "max_replica_count": 2},
    }

    def refused(match: str, **change: Any) -> None:
        row = {name: value for name, value in {**good, **change}.items() if value is not None}
        with pytest.raises(BadInput, match=match):
            google.call("JobService.CreateBatchPredictionJob", {"parent": cloud.here.parent, "batch_prediction_job": row})

    refused("Model does not exist")
    refused("Exactly one of model", model=None)
    refused("dedicated resources", dedicated_resources=None)
    refused("not supported", dedicated_resources={"machine_spec": {"machine_type": "n9"}, "starting_replica_count": 1})
    refused("below starting_replica_count", dedicated_resources={**good["dedicated_resources"], "max_replica_count": 1})
    refused("display_name", display_name="")
