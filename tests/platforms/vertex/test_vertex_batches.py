"""A batch there: a custom job that answers a file of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from penstock.testing.batch_suite import BatchConformance
from penstock.testing.emulators.vertex import VertexAI
from penstock.testing.emulators.vertex.jobs import KIND


class TestBatchesAtVertex(BatchConformance):
    @pytest.fixture(autouse=True)
    def _cloud(self, cloud: VertexAI) -> None:
        self.cloud = cloud

    def place(self) -> tuple[str, dict[str, Any]]:
        return f"{self.cloud.bucket()}/store", self.cloud.section()

    def jobs(self) -> Sequence[str]:
        return [job.row.display_name for job in self.cloud.here.of(KIND).values()]
