"""The emulator is as strict as the service: requests, states, uses, pages, and who asks."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import boto3
import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from penstock.platforms.sagemaker.machines import HOSTING, TRAINING
from penstock.testing.emulators.sagemaker import SageMaker
from penstock.testing.emulators.sagemaker.shapes import model, told
from penstock.testing.jobs_suite import until
from penstock.testing.patience import PATIENT_S
from penstock.testing.plain import PLAIN


@pytest.fixture
def client(cloud: SageMaker) -> Iterator[Any]:  # noqa: ARG001 (its environment)
    config = Config(parameter_validation=False, retries={"total_max_attempts": 1})
    with contextlib.closing(boto3.client("sagemaker", config=config)) as made:
        yield made


def raw(cloud: SageMaker, operation: str, body: bytes, kind: str = "application/x-amz-json-1.1") -> tuple[int, dict[str, Any]]:
    headers = {"content-type": kind, "x-amz-target": f"SageMaker.{operation}"}
    request = AWSRequest(method="POST", url=f"{cloud.url}/", data=body, headers=headers)
    SigV4Auth(Credentials(cloud.key, cloud.account.identities.secrets[cloud.key]), "sagemaker", cloud.region).add_auth(request)
    answer = httpx.post(f"{cloud.url}/", content=body, headers=dict(request.headers.items()), timeout=PATIENT_S, trust_env=False)
    return answer.status_code, answer.json()


def job(cloud: SageMaker, name: str = "a", **more: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "TrainingJobName": name,
        "AlgorithmSpecification": {
            "TrainingImage": cloud.image,
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["penstock"],
            "ContainerArguments": ["--version"],
        },
        "RoleArn": cloud.role,
        "OutputDataConfig": {"S3OutputPath": "s3://somewhere/x"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 30},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    }
    return {**base, **more}


def refused(call: Any, **parameters: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as error:
        call(**parameters)
    told = error.value.response["Error"]
    return told["Code"], told["Message"]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"TrainingJobName": "a_b"}, "regular expression pattern"),
        ({"TrainingJobName": "a" * 64}, "length less than or equal to 63"),
        ({"ResourceConfig": {"InstanceType": "ml.nonsense", "InstanceCount": 1, "VolumeSizeInGB": 1}}, "enum value set"),
        ({"ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": "1", "VolumeSizeInGB": 1}}, "of type integer"),
        ({"ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 0, "VolumeSizeInGB": 1}}, "at least 1"),
        ({"RoleArn": None}, "'roleArn' failed to satisfy constraint: Member must not be null"),
        ({"Surprise": 1}, "'surprise' failed to satisfy constraint: Member is not known"),
        ({"Environment": {"A": "x" * 513}}, "length less than or equal to 512"),
        ({"Tags": [{"Key": "aws:x", "Value": "y"}]}, "aws: prefixed"),
        ({"Tags": [{"Key": "k", "Value": "a*b"}]}, "regular expression pattern"),
        ({"EnableManagedSpotTraining": True}, "MaxWaitTimeInSeconds"),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 90}}, "must not be set"),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": 0}}, "greater than or equal to 1"),
    ],
)
def test_a_wrong_request_is_refused_in_the_services_words(cloud: SageMaker, more: Mapping[str, Any], says: str) -> None:
    status, answer = raw(cloud, "CreateTrainingJob", json.dumps(job(cloud, **more)).encode())
    assert (status, answer["__type"]) == (400, "ValidationException")
    assert says in answer["message"]
    assert not cloud.account.of("training-job")


def test_what_is_no_request_at_all(cloud: SageMaker) -> None:
    assert raw(cloud, "CreateTrainingJob", b"{")[1]["__type"] == "SerializationException"
    assert raw(cloud, "CreateTrainingJob", b"{}", kind="application/json")[1]["__type"] == "SerializationException"
    assert raw(cloud, "CreateUnicorn", b"{}")[1]["__type"] == "UnknownOperationException"
    unsigned = httpx.post(f"{cloud.url}/", headers={"x-amz-target": "SageMaker.ListModels"}, timeout=PATIENT_S, **PLAIN)
    assert unsigned.status_code == 403


def test_names_are_used_once_and_ends_are_ends(cloud: SageMaker, client: Any) -> None:
    client.create_training_job(**job(cloud))
    assert refused(client.create_training_job, **job(cloud))[0] == "ResourceInUse"
    until(lambda: client.describe_training_job(TrainingJobName="a")["TrainingJobStatus"] == "Completed")
    seen = [row["Status"] for row in client.describe_training_job(TrainingJobName="a")["SecondaryStatusTransitions"]]
    assert seen == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert "is in status Completed" in refused(client.stop_training_job, TrainingJobName="a")[1]
    assert refused(client.describe_training_job, TrainingJobName="b") == ("ValidationException", "Requested resource not found.")


def test_pages_go_on_for_the_same_question_only(cloud: SageMaker, client: Any) -> None:
    cloud.account.start_s = 1000.0
    for number in range(5):
        client.create_training_job(**job(cloud, f"job-{number}"))
    first = client.list_training_jobs(MaxResults=3, SortBy="Name", SortOrder="Ascending")
    rest = client.list_training_jobs(MaxResults=3, SortBy="Name", SortOrder="Ascending", NextToken=first["NextToken"])
    names = [row["TrainingJobName"] for row in (*first["TrainingJobSummaries"], *rest["TrainingJobSummaries"])]
    assert names == [f"job-{number}" for number in range(5)]
    assert "NextToken" not in rest
    assert "another request" in refused(client.list_training_jobs, MaxResults=3, NextToken=first["NextToken"])[1]
    assert "Invalid pagination token" in refused(client.list_training_jobs, NextToken="nonsense")[1]


def test_what_is_in_use_stays(cloud: SageMaker, client: Any) -> None:
    variant = {"VariantName": "v", "ModelName": "m", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    assert "Could not find model" in refused(client.create_endpoint_config, EndpointConfigName="c", ProductionVariants=[variant])[1]
    container = {"Image": cloud.image, "Environment": {"PENSTOCK_SERVING": "{}"}}
    client.create_model(ModelName="m", PrimaryContainer=container, ExecutionRoleArn=cloud.role)
    again = refused(client.create_model, ModelName="m", PrimaryContainer=container, ExecutionRoleArn=cloud.role)
    assert "already existing" in again[1]
    twice = [variant, variant]
    assert "unique" in refused(client.create_endpoint_config, EndpointConfigName="c", ProductionVariants=twice)[1]
    weightless = [{**variant, "InitialVariantWeight": 0.0}]
    assert "above zero" in refused(client.create_endpoint_config, EndpointConfigName="c", ProductionVariants=weightless)[1]
    client.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
    cloud.account.start_s = 1000.0
    client.create_endpoint(EndpointName="e", EndpointConfigName="c")
    assert refused(client.delete_endpoint_config, EndpointConfigName="c")[0] == "ResourceInUse"
    for change in (client.update_endpoint, client.create_endpoint):
        code, message = refused(change, EndpointName="e", EndpointConfigName="c")
        assert code == "ValidationException"
        assert "in-progress" in message or "already existing" in message
    assert "in-progress" in refused(client.delete_endpoint, EndpointName="e")[1]


def test_a_container_that_does_not_answer_pings_fails_the_endpoint(cloud: SageMaker, client: Any) -> None:
    container = {"Image": cloud.image, "Environment": {"PENSTOCK_SERVING": "nonsense"}}
    client.create_model(ModelName="m", PrimaryContainer=container, ExecutionRoleArn=cloud.role)
    variant = {"VariantName": "v", "ModelName": "m", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    client.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
    client.create_endpoint(EndpointName="e", EndpointConfigName="c")
    until(lambda: client.describe_endpoint(EndpointName="e")["EndpointStatus"] == "Failed")
    assert "ping health check" in client.describe_endpoint(EndpointName="e")["FailureReason"]
    assert "Cannot update failed endpoint" in refused(client.update_endpoint, EndpointName="e", EndpointConfigName="c")[1]


def test_machine_types_are_the_services_own() -> None:
    shapes = model("sagemaker")
    for table, shape in ((TRAINING, "TrainingInstanceType"), (HOSTING, "ProductionVariantInstanceType")):
        unknown = [machine.name for machine in table if told(machine.name, shapes.shape_for(shape))]
        assert not unknown, f"{shape} has no {unknown}"
