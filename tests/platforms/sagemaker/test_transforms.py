"""Batches by SageMaker's batch transform: the conformance suite, and what the emulator refuses as the service does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from penstock.control.batch import batch
from penstock.testing.emulators.sagemaker import SageMaker
from penstock.testing.emulators.sagemaker.account import IMAGE, ROLE
from penstock.testing.emulators.sagemaker.transforms import KIND
from penstock.testing.serving import ECHO
from penstock.testing.vendor_batch_suite import OURS, VendorBatchConformance


class TestBatchTransform(VendorBatchConformance):
    creates = ("CreateModel", "CreateTransformJob")
    looks = "DescribeTransformJob"

    @pytest.fixture(autouse=True)
    def _cloud(self, cloud: SageMaker) -> None:
        self.cloud = cloud

    def place(self, **replica: Any) -> tuple[str, dict[str, Any]]:
        return f"{self.cloud.bucket()}/store", self.cloud.section(replica=replica)

    def state(self) -> Any:
        return self.cloud.account

    def made(self) -> Sequence[str]:
        return list(self.cloud.account.of(KIND))

    def asked(self) -> int:
        return sum(job.rows for job in self.cloud.account.of(KIND).values())

    def exhaust(self) -> None:
        self.cloud.account.quotas["ml.m5.large for transform job usage"] = 0

    def test_generated_text_and_openai_lines_too(self) -> None:
        """Both forms in one: bodies of several routes, ids and errors of OpenAI's format."""
        rows = [
            {"custom_id": "a", "url": "/v1/completions", "body": {"prompt": "one two", "max_tokens": 2, "temperature": 0.5, "seed": 7}},
            {"custom_id": "b", "url": "/v1/completions", "body": {"prompt": "x", "max_tokens": -1}},
            {"custom_id": "c", "method": "GET", "url": "/v1/completions", "body": {}},
            {
                "custom_id": "d",
                "url": "/v1/chat/completions",
                "body": {"messages": [{"role": "user", "content": "grüß 𝄞"}], "max_tokens": 3},
            },
        ]
        source = self.folder / "in.jsonl"
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
        options = replace(OURS, engine_class=ECHO, openai=True)
        bytes_, artifact = self.expected(source, options, "w")
        self.there(ECHO)
        result = batch("w", source, self.folder / "out.jsonl", options=replace(options, vendor=True), on="there")
        assert (self.folder / "out.jsonl").read_bytes() == bytes_
        assert (result.artifact, result.failures) == (artifact, 2)
        assert self.left() == []


def test_the_emulator_refuses_what_the_service_does(cloud: SageMaker) -> None:
    client: Any = boto3.client("sagemaker", region_name=cloud.region)
    client.create_model(ModelName="m", PrimaryContainer={"Image": IMAGE}, ExecutionRoleArn=ROLE)
    good: dict[str, Any] = {
        "TransformJobName": "job",
        "ModelName": "m",
        "BatchStrategy": "SingleRecord",
        "TransformInput": {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/in/"}}, "SplitType": "Line"},
        "TransformOutput": {"S3OutputPath": "s3://b/out", "AssembleWith": "Line"},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
    }

    def refused(match: str, **change: Any) -> None:
        with pytest.raises(ClientError, match=match):
            client.create_transform_job(**{**good, **change})

    refused("at most 100 MB", MaxPayloadInMB=101)
    refused("at most 100 MB", MaxPayloadInMB=30, MaxConcurrentTransforms=4)
    refused("Could not find model", ModelName="other")
    refused("requires a SplitType", TransformInput={"DataSource": good["TransformInput"]["DataSource"]})
    refused("enum value set", TransformResources={"InstanceType": "ml.p5.48xlarge", "InstanceCount": 1})
    refused("pattern", TransformJobName="a_b")
    client.create_transform_job(**good)
    refused("must be unique")
    client.stop_transform_job(TransformJobName="job")
    assert client.describe_transform_job(TransformJobName="job")["TransformJobStatus"] in ("Stopping", "Stopped")
