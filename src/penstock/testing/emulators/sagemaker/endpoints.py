"""Endpoints: Creating → InService or Failed; Updating → InService, back on the old configuration when the new one fails; Deleting → gone.

Source: the API reference of DescribeEndpoint and UpdateEndpoint. An update keeps the instances of variants that it does not change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.testing.emulators.instances import gone
from penstock.testing.emulators.sagemaker.account import IMAGE, Account, page
from penstock.testing.emulators.sagemaker.errors import invalid, not_found, over_limit
from penstock.testing.emulators.sagemaker.fleet import Variant, stop, tend, variant_of
from penstock.testing.emulators.sagemaker.models import CONFIG, ENDPOINT

BUSY = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")


@dataclass(slots=True)
class Endpoint:
    """`pending`: the variants it is being brought to."""

    name: str
    arn: str
    created: float
    config: str
    status: str = "Creating"
    reason: str = ""
    modified: float = 0.0
    variants: dict[str, Variant] = field(default_factory=dict)
    pending: dict[str, Variant] | None = None
    pending_config: str | None = None


def create(account: Account, request: Mapping[str, Any]) -> dict[str, Any]:
    name, config = request["EndpointName"], request["EndpointConfigName"]
    if name in account.of(ENDPOINT):
        raise invalid(f'Cannot create already existing endpoint "{account.arn(ENDPOINT, name)}".')
    pending = _variants(account, config)
    _check_quota(account, pending)
    now = account.clock()
    endpoint = Endpoint(name, account.arn(ENDPOINT, name), now, config, modified=now, pending=pending, pending_config=config)
    account.of(ENDPOINT)[name] = endpoint
    account.tag(endpoint.arn, request.get("Tags"))
    settle(account, endpoint)
    return {"EndpointArn": endpoint.arn}


def update(account: Account, request: Mapping[str, Any]) -> dict[str, Any]:
    endpoint, config = _named(account, request["EndpointName"]), request["EndpointConfigName"]
    settle(account, endpoint)
    _idle(endpoint)
    pending = _variants(account, config)
    if request.get("RetainAllVariantProperties"):
        kept = {row["VariantPropertyType"] for row in request.get("ExcludeRetainedVariantProperties", ())}
        for name in pending.keys() & endpoint.variants.keys():
            if "DesiredInstanceCount" not in kept:
                pending[name].wanted = endpoint.variants[name].wanted
            if "DesiredWeight" not in kept:
                pending[name].weight = endpoint.variants[name].weight
    _check_quota(account, pending)
    _check_scaled(account, endpoint, pending)
    for name, variant in pending.items():
        old = endpoint.variants.get(name)
        if old is not None and old.same_as(variant):
            variant.instances = old.instances
    endpoint.pending, endpoint.pending_config = pending, config
    endpoint.status, endpoint.reason, endpoint.modified = "Updating", "", account.clock()
    return {"EndpointArn": endpoint.arn}


def update_weights(account: Account, request: Mapping[str, Any]) -> dict[str, Any]:
    endpoint = _named(account, request["EndpointName"])
    settle(account, endpoint)
    if endpoint.status != "InService":
        raise invalid(f"Cannot update in-progress endpoint {endpoint.arn}.")
    pending = {name: Variant(one.settings, one.weight, one.wanted, one.instances) for name, one in endpoint.variants.items()}
    for row in request["DesiredWeightsAndCapacities"]:
        if row["VariantName"] not in pending:
            raise invalid(
                f"The variant name(s) {row['VariantName']!r} is/are not present within endpoint configuration {endpoint.config!r}."
            )
        variant = pending[row["VariantName"]]
        variant.weight = row.get("DesiredWeight", variant.weight)
        variant.wanted = row.get("DesiredInstanceCount", variant.wanted)
        if variant.wanted < 1 and not asynchronous(account, endpoint):
            raise invalid("DesiredInstanceCount must be at least 1 for an endpoint without inference components.")
    if sum(variant.weight for variant in pending.values()) <= 0:
        raise invalid("At least one variant must have a weight above zero.")
    _check_quota(account, pending)
    endpoint.pending, endpoint.pending_config = pending, endpoint.config
    endpoint.status, endpoint.reason, endpoint.modified = "Updating", "", account.clock()
    return {"EndpointArn": endpoint.arn}


def delete(account: Account, request: Mapping[str, Any]) -> dict[str, Any]:
    endpoint = _named(account, request["EndpointName"])
    settle(account, endpoint)
    if endpoint.status in BUSY:
        raise invalid(f"Cannot update in-progress endpoint {endpoint.arn}.")
    endpoint.status, endpoint.modified = "Deleting", account.clock()
    for variant in endpoint.variants.values():
        for instance in variant.instances:
            stop(account, instance)
    return {}


def settle(account: Account, endpoint: Endpoint) -> None:
    """Moves the endpoint on as far as its instances have."""
    if endpoint.status == "Deleting":
        if all(gone(account.processes, variant.instances) for variant in endpoint.variants.values()):
            account.tags.pop(endpoint.arn, None)
            account.of(ENDPOINT).pop(endpoint.name, None)
        return
    if endpoint.pending is None:
        for variant in endpoint.variants.values():
            tend(account, endpoint.name, variant, replace=True)
        return
    dry = [one for one in endpoint.pending.values() if one.settings.get("InstanceType") in account.dry and len(one.instances) < one.wanted]
    if dry:
        _failed(account, endpoint, "Unable to provision requested ML compute capacity due to InsufficientInstanceCapacity error.")
        return
    if account.clock() - endpoint.modified < account.start_s:
        return
    for variant in endpoint.pending.values():
        tend(account, endpoint.name, variant, replace=False)
        if variant.lost:
            _failed(
                account,
                endpoint,
                f"The primary container for production variant {variant.name} did not pass the ping health check. Please check CloudWatch "
                "logs for this endpoint.",
            )
            return
    if all(variant.settled for variant in endpoint.pending.values()):
        _swap(account, endpoint)


def _swap(account: Account, endpoint: Endpoint) -> None:
    assert endpoint.pending is not None
    _stop_all_but(account, endpoint.variants, endpoint.pending)
    endpoint.variants, endpoint.config = endpoint.pending, endpoint.pending_config or endpoint.config
    endpoint.pending = endpoint.pending_config = None
    endpoint.status, endpoint.modified = "InService", account.clock()


def _failed(account: Account, endpoint: Endpoint, reason: str) -> None:
    """A new endpoint is Failed; one that served goes on as it was."""
    assert endpoint.pending is not None
    _stop_all_but(account, endpoint.pending, endpoint.variants)
    endpoint.status = "InService" if endpoint.variants else "Failed"
    endpoint.reason, endpoint.modified = reason, account.clock()
    endpoint.pending = endpoint.pending_config = None


def _stop_all_but(account: Account, leaving: Mapping[str, Variant], staying: Mapping[str, Variant]) -> None:
    kept = {instance.container for variant in staying.values() for instance in variant.instances}
    for variant in leaving.values():
        for instance in variant.instances:
            if instance.container not in kept:
                stop(account, instance)


def describe(account: Account, request: Mapping[str, Any]) -> dict[str, Any]:
    endpoint = _named(account, request["EndpointName"])
    settle(account, endpoint)
    endpoint = _named(account, request["EndpointName"])
    shown: dict[str, Any] = {
        "EndpointName": endpoint.name,
        "EndpointArn": endpoint.arn,
        "EndpointConfigName": endpoint.config,
        "EndpointStatus": endpoint.status,
        "CreationTime": endpoint.created,
        "LastModifiedTime": endpoint.modified,
    }
    if endpoint.variants:
        shown["ProductionVariants"] = [_shown(account, endpoint, variant) for variant in endpoint.variants.values()]
    if endpoint.reason:
        shown["FailureReason"] = endpoint.reason
    if asynchronous(account, endpoint):
        shown["AsyncInferenceConfig"] = account.of(CONFIG)[endpoint.config].request["AsyncInferenceConfig"]
    config = account.of(CONFIG).get(endpoint.config)
    capture = config.request.get("DataCaptureConfig") if config is not None else None
    if capture is not None and endpoint.variants:
        shown["DataCaptureConfig"] = {
            "EnableCapture": capture.get("EnableCapture", False),
            "CaptureStatus": "Started" if capture.get("EnableCapture") else "Stopped",
            "CurrentSamplingPercentage": capture["InitialSamplingPercentage"],
            "DestinationS3Uri": capture["DestinationS3Uri"],
            "KmsKeyId": capture.get("KmsKeyId", ""),
        }
    return shown


def _shown(account: Account, endpoint: Endpoint, variant: Variant) -> dict[str, Any]:
    going = (endpoint.pending or {}).get(variant.name, variant)
    image = next(iter(account.images), IMAGE)
    shown: dict[str, Any] = {
        "VariantName": variant.name,
        "DeployedImages": [{"SpecifiedImage": image, "ResolvedImage": image, "ResolutionTime": endpoint.created}],
        "CurrentWeight": variant.weight,
        "DesiredWeight": going.weight,
    }
    if "ServerlessConfig" in variant.settings:
        serverless = variant.settings["ServerlessConfig"]
        return {**shown, "CurrentServerlessConfig": serverless, "DesiredServerlessConfig": serverless}
    return {**shown, "CurrentInstanceCount": len(variant.ready), "DesiredInstanceCount": going.wanted}


def list_(account: Account, request: Mapping[str, Any]) -> dict[str, Any]:
    for endpoint in list(account.of(ENDPOINT).values()):
        settle(account, endpoint)
    within, wanted = request.get("NameContains", ""), request.get("StatusEquals")
    rows = [one for one in account.of(ENDPOINT).values() if within in one.name and wanted in (None, one.status)]
    rows.sort(key=lambda one: one.created, reverse=request.get("SortOrder", "Descending") == "Descending")
    return page(
        rows,
        request,
        "Endpoints",
        lambda one: {
            "EndpointName": one.name,
            "EndpointArn": one.arn,
            "CreationTime": one.created,
            "LastModifiedTime": one.modified,
            "EndpointStatus": one.status,
        },
    )


def asynchronous(account: Account, endpoint: Endpoint) -> bool:
    made = account.of(CONFIG).get(endpoint.config)
    return made is not None and "AsyncInferenceConfig" in made.request


def _variants(account: Account, config: str) -> dict[str, Variant]:
    made = account.of(CONFIG).get(config)
    if made is None:
        raise not_found("endpoint configuration", account.arn(CONFIG, config))
    return {row["VariantName"]: variant_of(row) for row in made.request["ProductionVariants"]}


def _check_quota(account: Account, pending: Mapping[str, Variant]) -> None:
    for variant in pending.values():
        quota = f"{variant.settings.get('InstanceType')} for endpoint usage"
        if quota in account.quotas and variant.wanted > account.quotas[quota]:
            raise over_limit(quota, account.quotas[quota], 0, variant.wanted)


def _check_scaled(account: Account, endpoint: Endpoint, pending: Mapping[str, Variant]) -> None:
    """What autoscaling follows may not go, nor change its machine."""
    found = account.client("application-autoscaling").describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    followed = {row["ResourceId"] for row in found}
    for name, old in endpoint.variants.items():
        new = pending.get(name)
        moved = new is None or new.settings.get("InstanceType") != old.settings.get("InstanceType")
        if moved and f"endpoint/{endpoint.name}/variant/{name}" in followed:
            raise invalid(
                f'The variant(s) "[{name}]" must be deregistered as scalable targets with AWS Auto Scaling before they can be removed or '
                "have their instance type updated."
            )


def _idle(endpoint: Endpoint) -> None:
    if endpoint.status in BUSY:
        raise invalid(f"Cannot update in-progress endpoint {endpoint.arn}.")
    if endpoint.status == "Failed":
        raise invalid(f"Cannot update failed endpoint {endpoint.arn}.")


def _named(account: Account, name: str) -> Endpoint:
    endpoint: Endpoint | None = account.of(ENDPOINT).get(name)
    if endpoint is None:
        raise not_found("endpoint", account.arn(ENDPOINT, name))
    return endpoint
