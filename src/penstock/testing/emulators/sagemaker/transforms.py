"""Transform jobs: InProgress → Completed or Failed, or Stopping → Stopped. A file goes to one instance, a line of it is one request.

Source: the API reference of CreateTransformJob and StopTransformJob, and the developer guide's page on batch transform: the payload of an
instance is 100 MB at most; a file with a record that was refused gives no output, the others do; a job that was stopped stores none.
What is not documented is refused: records of several lines, joins and filters, compressed input.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from penstock.testing.emulators import instances
from penstock.testing.emulators.instances import Instance
from penstock.testing.emulators.sagemaker.account import Account, Log, page
from penstock.testing.emulators.sagemaker.errors import in_use, invalid, not_found, over_limit
from penstock.testing.emulators.sagemaker.models import MODEL
from penstock.testing.ports import free_port

KIND = "transform-job"
ENDED = ("Completed", "Failed", "Stopped")
MOST_MB = 100
_LOGS = "/aws/sagemaker/TransformJobs"
_SHOWN = (
    *("ModelName", "MaxConcurrentTransforms", "ModelClientConfig", "MaxPayloadInMB", "BatchStrategy", "TransformInput"),
    *("TransformOutput", "TransformResources"),
)


@dataclass(slots=True)
class TransformJob:
    request: Mapping[str, Any]
    arn: str
    created: float
    model: Mapping[str, Any]
    status: str = "InProgress"
    reason: str = ""
    began: float | None = None
    ended: float | None = None
    fleet: list[Instance] = field(default_factory=list)
    logs: list[Log] = field(default_factory=list)
    work: threading.Thread | None = None
    done: dict[str, bytes] = field(default_factory=dict)  # output files, not stored before the end
    failures: list[str] = field(default_factory=list)
    rows: int = 0  # that were posted, those of a request that was repeated each time

    @property
    def name(self) -> str:
        return str(self.request["TransformJobName"])

    @property
    def machine(self) -> str:
        return str(self.request["TransformResources"]["InstanceType"])

    @property
    def count(self) -> int:
        return int(self.request["TransformResources"]["InstanceCount"])


def create(account: Account, request: Mapping[str, Any]) -> dict[str, Any]:
    name, jobs = request["TransformJobName"], account.of(KIND)
    if name in jobs:
        raise in_use(f"Job name must be unique within an AWS account and region: there is one already ({jobs[name].arn})")
    model = account.of(MODEL).get(request["ModelName"])
    if model is None:
        raise invalid(f'Could not find model "{account.arn("model", request["ModelName"])}".')
    _check(account, request)
    job = jobs[name] = TransformJob(request, account.arn(KIND, name), account.clock(), model.request["PrimaryContainer"])
    account.tag(job.arn, request.get("Tags"))
    settle(account, job)
    return {"TransformJobArn": job.arn}


def _check(account: Account, request: Mapping[str, Any]) -> None:
    source, payload, at_once = request["TransformInput"], request.get("MaxPayloadInMB", 6), request.get("MaxConcurrentTransforms", 1)
    if payload > MOST_MB or payload * at_once > MOST_MB:
        raise invalid(f"MaxConcurrentTransforms * MaxPayloadInMB must be at most {MOST_MB} MB.")
    if request.get("BatchStrategy") is not None and source.get("SplitType", "None") == "None":
        raise invalid("BatchStrategy requires a SplitType of Line, RecordIO or TFRecord.")
    if request.get("BatchStrategy") != "SingleRecord" or source.get("SplitType") != "Line":
        raise invalid("Not emulated: records of other shapes than a line each.")
    if request["TransformOutput"].get("AssembleWith", "None") != "Line":
        raise invalid("Not emulated: output that is not assembled by lines.")
    if source.get("CompressionType", "None") != "None" or request.get("DataProcessing"):
        raise invalid("Not emulated: compression, joins and filters.")
    if source["DataSource"]["S3DataSource"]["S3DataType"] != "S3Prefix":
        raise invalid("Not emulated: manifests.")
    quota = f"{request['TransformResources']['InstanceType']} for transform job usage"
    if quota in account.quotas:
        live = [job for job in account.of(KIND).values() if job.status not in ENDED and quota.startswith(f"{job.machine} ")]
        used, wanted = sum(job.count for job in live), request["TransformResources"]["InstanceCount"]
        if used + wanted > account.quotas[quota]:
            raise over_limit(quota, account.quotas[quota], used, wanted)


def settle(account: Account, job: TransformJob) -> None:
    """Moves the job on as far as its instances, its work and the clock have."""
    if job.status in ENDED:
        return
    now = account.clock()
    for log in job.logs:
        log.ship(account)
    lost = instances.looked(account.processes, job.fleet, "/ping")
    if job.status == "Stopping":
        if instances.gone(account.processes, job.fleet) and not (job.work is not None and job.work.is_alive()):
            _end(account, job, "Stopped")
    elif job.machine in account.dry:
        _end(account, job, "Failed", "CapacityError: Unable to provision requested ML compute capacity.")
    elif job.began is None and now - job.created >= account.start_s:
        job.began = now
        _launch(account, job)
    elif lost is not None and job.work is None:
        _end(account, job, "Failed", f"AlgorithmError: See job logs for more information; the container ended ({lost[1]})")
    elif job.work is None and job.began is not None and all(one.ready for one in job.fleet):
        job.work = threading.Thread(target=_transform, args=(account, job), daemon=True)
        job.work.start()
    elif job.work is not None and not job.work.is_alive():
        if job.failures:
            _end(account, job, "Failed", f"ClientError: See job logs for more information ({job.failures[0]})")
        else:
            _end(account, job, "Completed")


def _launch(account: Account, job: TransformJob) -> None:
    for number in range(job.count):
        port, container = free_port(), f"{job.name}.{number}"
        told = {"SAGEMAKER_BIND_TO_PORT": str(port), "SAGEMAKER_BATCH": "true"}
        account.run(container, ("penstock", "serve"), {**job.model.get("Environment", {}), **job.request.get("Environment", {}), **told})
        job.logs.append(Log(container, _LOGS, f"{job.name}/i-{number:017d}"))
        job.fleet.append(Instance(container, port))


def _end(account: Account, job: TransformJob, status: str, reason: str = "") -> None:
    """What was answered is stored, unless the job was stopped."""
    instances.stop(account.processes, job.fleet)
    if status != "Stopped":
        bucket, prefix = _place(job.request["TransformOutput"]["S3OutputPath"])
        for name, body in job.done.items():
            account.client("s3").put_object(Bucket=bucket, Key=f"{prefix.rstrip('/')}/{name}.out".lstrip("/"), Body=body)
    job.status, job.reason, job.ended = status, reason, account.clock()


def _transform(account: Account, job: TransformJob) -> None:
    """The files of the prefix, by key, in turn to the instances; of a file so many lines at once as may be."""
    bucket, prefix = _place(job.request["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"])
    pages = account.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    keys = sorted(row["Key"] for answer in pages for row in answer.get("Contents", ()))
    if not keys:
        job.failures.append(f"No S3 objects found under S3 URL s3://{bucket}/{prefix}")
        return
    with ThreadPoolExecutor(len(job.fleet)) as pool:
        shares = [(instance, keys[at :: len(job.fleet)]) for at, instance in enumerate(list(job.fleet))]
        list(pool.map(lambda share: _share(account, job, bucket, *share), shares))


def _share(account: Account, job: TransformJob, bucket: str, instance: Instance, keys: Sequence[str]) -> None:
    at_once = job.request.get("MaxConcurrentTransforms", 1)
    for key in keys:
        body = account.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        lines = [line for line in body.split(b"\n") if line]
        with ThreadPoolExecutor(at_once) as pool:
            found = list(pool.map(lambda line: _asked(job, instance, line), lines))
        if None not in found:
            job.done[key.rpartition("/")[2]] = b"".join(answer + b"\n" for answer in found if answer is not None)


def _asked(job: TransformJob, instance: Instance, line: bytes) -> bytes | None:
    """The answer to a record; None where there was none."""
    if len(line) > job.request.get("MaxPayloadInMB", 6) * 1_000_000:
        job.failures.append("a record is larger than MaxPayloadInMB")
        return None
    client, kind = job.request.get("ModelClientConfig", {}), job.request["TransformInput"].get("ContentType", "")
    accepts = job.request["TransformOutput"].get("Accept", "")
    for _ in range(1 + client.get("InvocationsMaxRetries", 3)):
        if job.status != "InProgress":
            return None
        connection = http.client.HTTPConnection("127.0.0.1", instance.port, timeout=client.get("InvocationsTimeoutInSeconds", 600))
        try:
            job.rows += line.count(b'"row":')
            connection.request("POST", "/invocations", line, {"content-type": kind, "accept": accepts})
            answer = connection.getresponse()
            body = answer.read()
            if answer.status == 200:
                return body
            reason = f"Bad HTTP status received from algorithm: {answer.status}"
            if answer.status < 500:
                break
        except (OSError, http.client.HTTPException) as error:
            reason = f"Unable to get response from algorithm: {error}"
            time.sleep(0.05)
        finally:
            connection.close()
    job.failures.append(reason)
    return None


def _place(url: str) -> tuple[str, str]:
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    return bucket, prefix


def describe(account: Account, request: Mapping[str, Any]) -> dict[str, Any]:
    job = _named(account, request["TransformJobName"])
    settle(account, job)
    shown: dict[str, Any] = {name: job.request[name] for name in _SHOWN if name in job.request}
    shown |= {"TransformJobName": job.name, "TransformJobArn": job.arn, "TransformJobStatus": job.status, "CreationTime": job.created}
    shown |= {"FailureReason": job.reason[:1024]} if job.reason else {}
    shown |= {"TransformStartTime": job.began} if job.began is not None else {}
    return shown | ({"TransformEndTime": job.ended} if job.ended is not None else {})


def stop(account: Account, request: Mapping[str, Any]) -> dict[str, Any]:
    job = _named(account, request["TransformJobName"])
    settle(account, job)
    if job.status in ENDED:
        raise invalid(f"The request was rejected because the transform job is in status {job.status}.")
    job.status = "Stopping"
    instances.stop(account.processes, job.fleet)
    return {}


def list_(account: Account, request: Mapping[str, Any]) -> dict[str, Any]:
    rows = list(account.of(KIND).values())
    for job in rows:
        settle(account, job)
    wanted, within = request.get("StatusEquals"), request.get("NameContains", "")
    rows = [job for job in rows if wanted in (None, job.status) and within in job.name]
    rows.sort(key=lambda job: job.created, reverse=request.get("SortOrder", "Descending") == "Descending")
    return page(rows, request, "TransformJobSummaries", _summary)


def _summary(job: TransformJob) -> dict[str, Any]:
    shown = {"TransformJobName": job.name, "TransformJobArn": job.arn, "CreationTime": job.created, "TransformJobStatus": job.status}
    return {**shown, **({"TransformEndTime": job.ended} if job.ended is not None else {})}


def _named(account: Account, name: str) -> TransformJob:
    job: TransformJob | None = account.of(KIND).get(name)
    if job is None:
        raise not_found("transform job")
    return job
