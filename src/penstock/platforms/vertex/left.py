"""What of ours is there: by label, so that a leak is found whoever lost it."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.platforms.vertex.driver import CustomJobs
from penstock.platforms.vertex.google import Google
from penstock.platforms.vertex.metrics import CloudMonitoring
from penstock.platforms.vertex.predictions import running
from penstock.platforms.vertex.registry import MARK
from penstock.platforms.vertex.settings import store_mark

_LISTS = (("endpoint", "EndpointService.ListEndpoints"), ("model", "ModelService.ListModels"))


def left(google: Google, store: str) -> Sequence[str]:
    """`kind name` of jobs and pipelines that run, endpoints, models and what shows metrics, of the project whose artifacts are in `store`.

    Models of the registry stay: they are a record, and cost nothing.
    """
    found = [f"custom job {name}" for name in CustomJobs(google, store).left()]
    found += [f"batch prediction job {name}" for name in running(google, store)]
    request = {"parent": google.settings.parent, "filter": f'labels.penstock_store="{store_mark(store)}"'}
    for what, operation in _LISTS:
        found += [f"{what} {row.name.rpartition('/')[2]}" for row in google.rows(operation, request) if MARK not in row.labels]
    unended = " AND ".join(f'state!="PIPELINE_STATE_{state}"' for state in ("SUCCEEDED", "FAILED", "CANCELLED"))
    live = {"parent": google.settings.parent, "filter": f"{request['filter']} AND {unended}"}
    found += [f"pipeline {row.name.rpartition('/')[2]}" for row in google.rows("PipelineService.ListPipelineJobs", live)]
    if google.settings.metrics:
        found += CloudMonitoring(google, store).left()
    return sorted(found)
