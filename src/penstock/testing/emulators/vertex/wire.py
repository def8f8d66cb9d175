"""The gRPC side: each method by its full name, its request decoded strictly, its refusal as a google.rpc.Status in the trailers."""

from __future__ import annotations

import functools
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
from google.longrunning import operations_pb2
from grpc_status import rpc_status

from penstock.testing.emulators.faults import Fault
from penstock.testing.emulators.vertex import endpoints, jobs, logs, models, monitoring, operations, pipelines, predictions
from penstock.testing.emulators.vertex.errors import VertexError, not_found, too_many_requests
from penstock.testing.emulators.vertex.messages import dash, v1, v2, v3
from penstock.testing.emulators.vertex.project import Project
from penstock.testing.emulators.vertex.schemas import check

_V1 = "google.cloud.aiplatform.v1"
_JOBS, _MODELS, _ENDPOINTS = f"{_V1}.JobService", f"{_V1}.ModelService", f"{_V1}.EndpointService"
_PIPELINES = f"{_V1}.PipelineService"

_ALERTS, _BOARDS = "google.monitoring.v3.AlertPolicyService", "google.monitoring.dashboard.v1.DashboardsService"


@dataclass(frozen=True, slots=True)
class Method:
    """`request`: a message class. `partial`: fields may be left out, as an update names those it means."""

    request: Any
    answer: Callable[[Project, Any], Any]
    partial: bool = False


METHODS = {
    f"/{_JOBS}/CreateCustomJob": Method(v1.CreateCustomJobRequest, jobs.create),
    f"/{_JOBS}/GetCustomJob": Method(v1.GetCustomJobRequest, jobs.get),
    f"/{_JOBS}/ListCustomJobs": Method(v1.ListCustomJobsRequest, jobs.list_),
    f"/{_JOBS}/CancelCustomJob": Method(v1.CancelCustomJobRequest, jobs.cancel),
    f"/{_JOBS}/DeleteCustomJob": Method(v1.DeleteCustomJobRequest, jobs.delete),
    f"/{_JOBS}/CreateBatchPredictionJob": Method(v1.CreateBatchPredictionJobRequest, predictions.create),
    f"/{_JOBS}/GetBatchPredictionJob": Method(v1.GetBatchPredictionJobRequest, predictions.get),
    f"/{_JOBS}/ListBatchPredictionJobs": Method(v1.ListBatchPredictionJobsRequest, predictions.list_),
    f"/{_JOBS}/CancelBatchPredictionJob": Method(v1.CancelBatchPredictionJobRequest, predictions.cancel),
    f"/{_JOBS}/DeleteBatchPredictionJob": Method(v1.DeleteBatchPredictionJobRequest, predictions.delete),
    f"/{_PIPELINES}/CreatePipelineJob": Method(v1.CreatePipelineJobRequest, pipelines.create),
    f"/{_PIPELINES}/GetPipelineJob": Method(v1.GetPipelineJobRequest, pipelines.get),
    f"/{_PIPELINES}/ListPipelineJobs": Method(v1.ListPipelineJobsRequest, pipelines.list_),
    f"/{_PIPELINES}/CancelPipelineJob": Method(v1.CancelPipelineJobRequest, pipelines.cancel),
    f"/{_PIPELINES}/DeletePipelineJob": Method(v1.DeletePipelineJobRequest, pipelines.delete),
    f"/{_MODELS}/UploadModel": Method(v1.UploadModelRequest, models.upload),
    f"/{_MODELS}/GetModel": Method(v1.GetModelRequest, models.get),
    f"/{_MODELS}/ListModels": Method(v1.ListModelsRequest, models.list_),
    f"/{_MODELS}/ListModelVersions": Method(v1.ListModelVersionsRequest, models.list_versions),
    f"/{_MODELS}/UpdateModel": Method(v1.UpdateModelRequest, models.update, partial=True),
    f"/{_MODELS}/MergeVersionAliases": Method(v1.MergeVersionAliasesRequest, models.merge_aliases),
    f"/{_MODELS}/DeleteModel": Method(v1.DeleteModelRequest, models.delete),
    f"/{_ENDPOINTS}/CreateEndpoint": Method(v1.CreateEndpointRequest, endpoints.create),
    f"/{_ENDPOINTS}/GetEndpoint": Method(v1.GetEndpointRequest, endpoints.get),
    f"/{_ENDPOINTS}/ListEndpoints": Method(v1.ListEndpointsRequest, endpoints.list_),
    f"/{_ENDPOINTS}/UpdateEndpoint": Method(v1.UpdateEndpointRequest, endpoints.update, partial=True),
    f"/{_ENDPOINTS}/DeleteEndpoint": Method(v1.DeleteEndpointRequest, endpoints.delete),
    f"/{_ENDPOINTS}/DeployModel": Method(v1.DeployModelRequest, endpoints.deploy),
    f"/{_ENDPOINTS}/UndeployModel": Method(v1.UndeployModelRequest, endpoints.undeploy),
    f"/{_ENDPOINTS}/MutateDeployedModel": Method(v1.MutateDeployedModelRequest, endpoints.mutate, partial=True),
    "/google.longrunning.Operations/GetOperation": Method(operations_pb2.GetOperationRequest, operations.get),
    "/google.longrunning.Operations/ListOperations": Method(operations_pb2.ListOperationsRequest, operations.list_),
    "/google.logging.v2.LoggingServiceV2/ListLogEntries": Method(v2.ListLogEntriesRequest, logs.list_),
    "/google.monitoring.v3.MetricService/CreateTimeSeries": Method(v3.CreateTimeSeriesRequest, monitoring.write),
    f"/{_ALERTS}/CreateAlertPolicy": Method(v3.CreateAlertPolicyRequest, monitoring.create_policy),
    f"/{_ALERTS}/ListAlertPolicies": Method(v3.ListAlertPoliciesRequest, monitoring.list_policies),
    f"/{_ALERTS}/DeleteAlertPolicy": Method(v3.DeleteAlertPolicyRequest, monitoring.delete_policy),
    f"/{_BOARDS}/CreateDashboard": Method(dash.CreateDashboardRequest, monitoring.create_board),
    f"/{_BOARDS}/UpdateDashboard": Method(dash.UpdateDashboardRequest, monitoring.update_board),
    f"/{_BOARDS}/ListDashboards": Method(dash.ListDashboardsRequest, monitoring.list_boards),
    f"/{_BOARDS}/DeleteDashboard": Method(dash.DeleteDashboardRequest, monitoring.delete_board),
}


class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, project: Project) -> None:
        self._project = project

    def service(self, call: Any) -> Any:
        method = METHODS.get(call.method)
        if method is None:
            return None
        return grpc.unary_unary_rpc_method_handler(
            functools.partial(self._answer, call.method.rpartition("/")[2], method),
            request_deserializer=functools.partial(_decoded, method.request),
        )

    def _answer(self, name: str, method: Method, request: Any, context: Any) -> Any:
        project, fault = self._project, self._project.faults.next(name)
        try:
            _before(name, fault)
            metadata = dict(context.invocation_metadata())
            project.identities.check(
                metadata.get("authorization", ""), name, str(getattr(request, "parent", "") or getattr(request, "name", ""))
            )
            if hasattr(type(request), "pb"):
                check(request, not method.partial)
            with project.lock:  # rows are shown as they lie here, and change as soon as it is let go
                found = method.answer(project, request)
                answer = _encoded(found)
            if fault is not None and fault.kind == "unseen":
                answer = _encoded(_lagging(name, request, found))
            if fault is not None and fault.kind == "lose_answer":
                raise VertexError("UNAVAILABLE", "recvmsg:Connection reset by peer")
        except VertexError as error:
            context.abort_with_status(rpc_status.to_status(error.status()))
        except Exception:
            traceback.print_exc()
            context.abort(grpc.StatusCode.INTERNAL, "the emulator itself failed; its output says how")
        return answer


def _lagging(name: str, request: Any, answer: Any) -> Any:
    """As a copy answers that has not heard yet: an empty list, or nothing of that name."""
    if name.startswith("List"):
        return type(answer)()
    raise not_found("resource", request.name)


def _before(name: str, fault: Fault | None) -> None:
    if fault is None or fault.kind in ("lose_answer", "unseen"):
        return
    if fault.kind == "slow":
        time.sleep(fault.seconds)
        return
    raise {
        "throttle": too_many_requests(name),
        "internal": VertexError("INTERNAL", "Internal error encountered."),
        "lose_request": VertexError("UNAVAILABLE", "failed to connect to all addresses; last error: Socket closed"),
    }[fault.kind]


def _decoded(kind: Any, data: bytes) -> Any:
    return kind.deserialize(data) if hasattr(kind, "deserialize") else kind.FromString(data)


def _encoded(message: Any) -> bytes:
    kind = type(message)
    return bytes(kind.serialize(message) if hasattr(kind, "serialize") else message.SerializeToString())
