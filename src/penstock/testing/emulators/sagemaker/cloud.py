"""The emulator as a server: SageMaker, its runtime and what starts its jobs on one port, moto beside it for S3, CloudWatch, autoscaling."""

from __future__ import annotations

import contextlib
import logging
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from penstock.testing.emulators.http import HttpServer
from penstock.testing.emulators.sagemaker.account import IMAGE, NUMBER, REGION, ROLE, Account
from penstock.testing.emulators.sagemaker.forgetting import forget
from penstock.testing.emulators.sagemaker.training import KIND as TRAINING
from penstock.testing.emulators.sagemaker.wire import answer
from penstock.testing.emulators.table import Emulated

OURS = ("SAGEMAKER", "SAGEMAKER_RUNTIME", "SFN", "EVENTBRIDGE", "SCHEDULER")  # the others are moto's


class SageMaker:
    """`with SageMaker(folder) as cloud`: set `cloud.environment`, then any AWS client of this account speaks to it.

    `account` is what a test looks into and plans faults with.
    """

    role, image, region = ROLE, IMAGE, REGION

    def __init__(self, folder: Path) -> None:
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # moto's server: a line for every request
        self._moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._moto.start()
        host, port = self._moto.get_host_and_port()
        key, secret = f"AKIA{secrets.token_hex(8).upper()}", secrets.token_hex(20)
        self.key = key
        aws = {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self.account = Account(folder, aws)
        self.account.identities.secrets[key] = secret
        self._http = HttpServer(lambda asked: answer(self.account, asked))
        self.url = self._http.url
        self.environment = {**aws, **{f"AWS_ENDPOINT_URL_{service}": self.url for service in OURS}}
        self.account.aws = self.environment

    def __enter__(self) -> SageMaker:
        self._http.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._http.close()
        self.account.processes.close()
        self._moto.stop()

    def bucket(self) -> str:
        """`s3://…` of a new bucket."""
        name = f"penstock-{NUMBER}-{secrets.token_hex(6)}"
        self.account.client("s3").create_bucket(Bucket=name)
        return f"s3://{name}"

    def section(self, **more: Any) -> dict[str, Any]:
        """A platform's section of a pipeline file for this account."""
        return {"kind": "sagemaker", "region": self.region, "role": self.role, "image": self.image, **more}

    def clear(self) -> None:
        """Takes everything away, faults and limits too: the next test begins in an empty account."""
        with self.account.lock:
            self.account.processes.close()
            shutil.rmtree(self.account.processes.folder, ignore_errors=True)
            forget(self.account)
            for place in (self.account.things, self.account.tags, self.account.quotas):
                place.clear()
            self.account.dry.clear()
            self.account.faults.clear()
            self.account.identities.expired.clear()
            self.account.identities.denied.clear()
            self.account.start_s = self.account.capture_s = 0.0

    def take_away(self, job: str, *, warned: bool = True) -> None:
        """The machines of a training job go, as spot capacity does."""
        with self.account.lock:
            for name in self.account.of(TRAINING)[job].containers():
                self.account.processes.take_away(name, warned=warned)


@contextlib.contextmanager
def emulated(folder: Path, store: Path) -> Iterator[Emulated]:  # noqa: ARG001 (it has buckets)
    """For EMULATORS. Artifacts lie in a bucket."""
    with SageMaker(folder) as cloud:
        yield Emulated(cloud.section(), {**cloud.environment, "PENSTOCK_ARTIFACTS": f"{cloud.bucket()}/store"})
