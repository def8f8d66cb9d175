"""Who counts the instances where AWS does: a scalable target and a policy (target tracking) for each variant.

A variant must be taken off before it may go or change its machine; the service refuses the update otherwise. An asynchronous endpoint is
scaled by what stands in its line. One without instances says nothing of that, so an alarm wakes it when there is a line and nobody up.
Source: SageMaker AI developer guide, "Autoscale an asynchronous endpoint".
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from penstock.platforms.sagemaker.aws import Aws
from penstock.platforms.sagemaker.settings import InstanceScaling

POLICY, WAKING = "penstock-invocations", "penstock-waking"
ALARM = "-waking"  # behind the endpoint's name
_WHAT: dict[str, Any] = {"ServiceNamespace": "sagemaker", "ScalableDimension": "sagemaker:variant:DesiredInstanceCount"}


@dataclass(frozen=True, slots=True)
class Scaling:
    """Does nothing, and asks nobody, where the section has no `autoscale`."""

    aws: Aws
    mark: str = ""  # the project's

    def follow(self, endpoint: str, variants: Collection[str]) -> None:
        """AWS counts the instances of these. Idempotent."""
        bounds = self.aws.settings.autoscale
        if bounds is None:
            return
        for variant in variants:
            where: dict[str, Any] = {**_WHAT, "ResourceId": _resource(endpoint, variant)}
            self.aws.call("application-autoscaling:RegisterScalableTarget", MinCapacity=bounds.min, MaxCapacity=bounds.max, **where)
            tracking: dict[str, Any] = {
                **_measured(endpoint, bounds),
                "ScaleOutCooldown": int(bounds.up_after),
                "ScaleInCooldown": int(bounds.down_after),
            }
            more: dict[str, Any] = {"PolicyType": "TargetTrackingScaling", "TargetTrackingScalingPolicyConfiguration": tracking}
            self.aws.call("application-autoscaling:PutScalingPolicy", PolicyName=POLICY, **where, **more)
            if bounds.min == 0:
                self._wake(endpoint, where, bounds)

    def _wake(self, endpoint: str, where: dict[str, Any], bounds: InstanceScaling) -> None:
        """One instance comes within minutes of the first request."""
        step: dict[str, Any] = {
            "AdjustmentType": "ChangeInCapacity",
            "MetricAggregationType": "Average",
            "Cooldown": int(bounds.up_after),
            "StepAdjustments": [{"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 1}],
        }
        more: dict[str, Any] = {"PolicyType": "StepScaling", "StepScalingPolicyConfiguration": step}
        policy = self.aws.call("application-autoscaling:PutScalingPolicy", PolicyName=WAKING, **where, **more) or {}
        self.aws.call(
            "cloudwatch:PutMetricAlarm",
            AlarmName=f"{endpoint}{ALARM}",
            AlarmDescription=f"wakes {endpoint} (project {self.mark})",
            AlarmActions=[policy["PolicyARN"]],
            Namespace="AWS/SageMaker",
            MetricName="HasBacklogWithoutCapacity",
            Dimensions=[{"Name": "EndpointName", "Value": endpoint}],
            Statistic="Average",
            Period=60,
            EvaluationPeriods=1,
            Threshold=1.0,
            ComparisonOperator="GreaterThanOrEqualToThreshold",
            TreatMissingData="missing",
        )

    def keep(self, endpoint: str, variants: Collection[str]) -> None:
        """Takes off all variants of the endpoint but these."""
        if self.aws.settings.autoscale is None:
            return
        kept = {_resource(endpoint, variant) for variant in variants}
        for resource in list(self._targets(endpoint)):
            if resource not in kept:
                self.aws.call("application-autoscaling:DeregisterScalableTarget", _gone, ResourceId=resource, **_WHAT)
        if not kept and self.aws.settings.autoscale.min == 0:
            self.aws.call("cloudwatch:DeleteAlarms", _gone, AlarmNames=[f"{endpoint}{ALARM}"])

    def alarms(self) -> list[str]:
        """Names of alarms of this project that wake endpoints."""
        rows = self.aws.pages("cloudwatch:DescribeAlarms", "MetricAlarms", AlarmNamePrefix="penstock-")
        return [row["AlarmName"] for row in rows if row.get("AlarmDescription", "").endswith(f"(project {self.mark})")]

    def _targets(self, endpoint: str) -> Iterator[str]:
        for row in self.aws.pages("application-autoscaling:DescribeScalableTargets", "ScalableTargets", **_WHAT):
            if row["ResourceId"].startswith(f"endpoint/{endpoint}/"):
                yield row["ResourceId"]


def _measured(endpoint: str, bounds: InstanceScaling) -> dict[str, Any]:
    """What is held near which value. A real-time endpoint tells what each instance is asked, an asynchronous one of its line."""
    if bounds.backlog is None:
        return {
            "TargetValue": bounds.invocations,
            "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
        }
    metric = {
        "MetricName": "ApproximateBacklogSizePerInstance",
        "Namespace": "AWS/SageMaker",
        "Dimensions": [{"Name": "EndpointName", "Value": endpoint}],
        "Statistic": "Average",
    }
    return {"TargetValue": bounds.backlog, "CustomizedMetricSpecification": metric}


def _resource(endpoint: str, variant: str) -> str:
    return f"endpoint/{endpoint}/variant/{variant}"


def _gone(code: str, message: str) -> bool:  # noqa: ARG001 (as every `known` has it)
    return code == "ObjectNotFoundException"
