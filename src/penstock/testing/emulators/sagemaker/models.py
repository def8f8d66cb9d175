"""Models and endpoint configurations: immutable, named once, not to be deleted while they are in use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from penstock.testing.emulators.sagemaker.account import Account, page
from penstock.testing.emulators.sagemaker.errors import in_use, invalid, not_found

MODEL, CONFIG, ENDPOINT = "model", "endpoint-config", "endpoint"


@dataclass(slots=True)
class Made:
    request: Mapping[str, Any]
    arn: str
    created: float


def create_model(account: Account, request: Mapping[str, Any]) -> dict[str, Any]:
    name = request["ModelName"]
    if name in account.of(MODEL):
        raise invalid(f'Cannot create already existing model "{account.arn(MODEL, name)}".')
    if ("PrimaryContainer" in request) == ("Containers" in request):
        raise invalid("You must specify exactly one of PrimaryContainer and Containers.")
    container = request["PrimaryContainer"] if "PrimaryContainer" in request else request["Containers"][0]
    if "Image" not in container and "ModelPackageName" not in container:
        raise invalid("A container needs an Image or a ModelPackageName.")
    if "ExecutionRoleArn" not in request:
        raise invalid("ExecutionRoleArn is required.")
    account.assume(request["ExecutionRoleArn"])
    if container.get("Image", "") not in account.images and "ModelPackageName" not in container:
        raise invalid(f"Requested image {container['Image']} not found.")
    return {"ModelArn": _made(account, MODEL, name, request).arn}


def describe_model(account: Account, request: Mapping[str, Any]) -> dict[str, Any]:
    made = _named(account, MODEL, request["ModelName"])
    kept = {name: value for name, value in made.request.items() if name != "Tags"}
    return {**kept, "ModelArn": made.arn, "CreationTime": made.created}


def delete_model(account: Account, request: Mapping[str, Any]) -> dict[str, Any]:
    """As the service does: an endpoint that uses it goes on, but can start no instance any more."""
    _forget(account, MODEL, request["ModelName"])
    return {}


def list_models(account: Account, request: Mapping[str, Any]) -> dict[str, Any]:
    rows = _rows(account, MODEL, request)
    return page(
        rows, request, "Models", lambda row: {"ModelName": row.request["ModelName"], "ModelArn": row.arn, "CreationTime": row.created}
    )


def create_config(account: Account, request: Mapping[str, Any]) -> dict[str, Any]:
    name = request["EndpointConfigName"]
    if name in account.of(CONFIG):
        raise invalid(f'Cannot create already existing endpoint configuration "{account.arn(CONFIG, name)}".')
    variants = request["ProductionVariants"]
    names = [variant["VariantName"] for variant in variants]
    if len(set(names)) != len(names):
        raise invalid("Variant names must be unique within an endpoint configuration.")
    for variant in variants:
        _check_variant(account, variant)
    if any("ServerlessConfig" in variant for variant in variants) and (len(variants) > 1 or "DataCaptureConfig" in request):
        raise invalid("A serverless endpoint has one production variant, and no data capture.")
    if "AsyncInferenceConfig" in request and (len(variants) > 1 or "InstanceType" not in variants[0] or "DataCaptureConfig" in request):
        raise invalid("An asynchronous endpoint has one production variant, on instances; whether it captures data is not documented.")
    if sum(variant.get("InitialVariantWeight", 1.0) for variant in variants) <= 0:
        raise invalid("At least one variant must have a weight above zero.")
    return {"EndpointConfigArn": _made(account, CONFIG, name, request).arn}


def _check_variant(account: Account, variant: Mapping[str, Any]) -> None:
    if variant.get("ModelName") not in account.of(MODEL):
        raise not_found("model", account.arn(MODEL, variant.get("ModelName", "")))
    serverless = variant.get("ServerlessConfig")
    if serverless is None and not ("InstanceType" in variant and "InitialInstanceCount" in variant):
        raise invalid(f"Variant {variant['VariantName']} needs InstanceType and InitialInstanceCount, or ServerlessConfig.")
    if serverless is not None:
        if "InstanceType" in variant or "InitialInstanceCount" in variant:
            raise invalid("A serverless variant has no instances.")
        if "VpcConfig" in account.of(MODEL)[variant["ModelName"]].request:
            raise invalid("A serverless endpoint's model cannot have a VpcConfig.")
        if serverless["MemorySizeInMB"] not in range(1024, 6145, 1024):
            raise invalid("MemorySizeInMB must be one of 1024, 2048, 3072, 4096, 5120, 6144.")


def describe_config(account: Account, request: Mapping[str, Any]) -> dict[str, Any]:
    made = _named(account, CONFIG, request["EndpointConfigName"])
    kept = {name: value for name, value in made.request.items() if name != "Tags"}
    return {**kept, "EndpointConfigArn": made.arn, "CreationTime": made.created}


def delete_config(account: Account, request: Mapping[str, Any]) -> dict[str, Any]:
    """Refused while an endpoint uses it. The service only says that it must not be done; nothing of ours may lean on more."""
    name = request["EndpointConfigName"]
    alive = [one for one in account.of(ENDPOINT).values() if one.status != "Deleting"]
    used = [one.name for one in alive if name in (one.config, one.pending_config)]
    if used:
        raise in_use(f'Endpoint configuration "{account.arn(CONFIG, name)}" is in use by endpoint {used[0]}.')
    _forget(account, CONFIG, name)
    return {}


def list_configs(account: Account, request: Mapping[str, Any]) -> dict[str, Any]:
    rows = _rows(account, CONFIG, request)
    return page(
        rows,
        request,
        "EndpointConfigs",
        lambda row: {
            "EndpointConfigName": row.request["EndpointConfigName"],
            "EndpointConfigArn": row.arn,
            "CreationTime": row.created,
        },
    )


def _made(account: Account, kind: str, name: str, request: Mapping[str, Any]) -> Made:
    made = account.of(kind)[name] = Made(request, account.arn(kind, name), account.clock())
    account.tag(made.arn, request.get("Tags"))
    return made


def _named(account: Account, kind: str, name: str) -> Made:
    made: Made | None = account.of(kind).get(name)
    if made is None:
        raise not_found("model" if kind == MODEL else "endpoint configuration", account.arn(kind, name))
    return made


def _forget(account: Account, kind: str, name: str) -> None:
    account.tags.pop(_named(account, kind, name).arn, None)
    del account.of(kind)[name]


def _rows(account: Account, kind: str, request: Mapping[str, Any]) -> list[Made]:
    found = [made for name, made in account.of(kind).items() if request.get("NameContains", "") in name]
    return sorted(found, key=lambda made: made.created, reverse=request.get("SortOrder", "Descending") == "Descending")
