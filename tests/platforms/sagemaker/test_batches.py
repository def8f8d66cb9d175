"""A batch there: a training job that answers a file of rows, which this machine sent and whose answers it writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from penstock.testing.batch_suite import BatchConformance
from penstock.testing.emulators.sagemaker import SageMaker
from penstock.testing.emulators.sagemaker.training import KIND


class TestBatchesAtSageMaker(BatchConformance):
    @pytest.fixture(autouse=True)
    def _cloud(self, cloud: SageMaker) -> None:
        self.cloud = cloud

    def place(self) -> tuple[str, dict[str, Any]]:
        return f"{self.cloud.bucket()}/store", self.cloud.section()

    def jobs(self) -> Sequence[str]:
        return [job.name for job in self.cloud.account.of(KIND).values()]
