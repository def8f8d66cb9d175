"""The `platforms` section: one record a kind, and complaints that point at what was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.core.errors import FileProblems
from penstock.spec.load import loads
from penstock.spec.pipeline import Pipeline, dump
from penstock.spec.platforms import KINDS

FILE = "name: x\nsteps: [{{name: a, uses: steps:a}}]\nplatforms:\n  there: {}\n"


def checked(section: str, folder: Path) -> Pipeline:
    (folder / "steps.py").write_text("def a() -> int:\n    return 1\n")
    return loads(FILE.format(section).encode(), file=folder / "penstock.yaml").pipeline


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ("{kind: kuberntes}", "penstock.yaml:4:17: platforms.there.kind: 'kuberntes' is not known; choose local, kubernetes, sagemaker"),
        ("{kind: kubernetes}", "platforms.there.image: is missing"),
        ("{kind: kubernetes, image: x, namspace: y}", "penstock.yaml:4:39: platforms.there.namspace: unknown key; known here: kind, image"),
        ("{workers: 0}", "platforms.there.workers: 0 is out of range"),
        (
            "{kind: kubernetes, image: x, pools: {a: {cpus: 1, memory: 8GiB, gpu: t5}}}",
            "platforms.there.pools.a.gpu.type: 't5' is not known",
        ),
        ("{kind: kubernetes, image: x, replica: {cpu: 1}}", "unknown key; known here: cpus, memory, gpu, spot"),
        (
            "{kind: sagemaker, region: eu-west-1, role: 'arn:aws:iam::123456789012:role/x', image: x, serverless: {}, capture: {}}",
            "penstock.yaml:4:115: platforms.there.capture: SageMaker captures nothing of a serverless endpoint",
        ),
        (
            "{kind: sagemaker, asynchronous: {}, serverless: {}}",
            "penstock.yaml:4:28: platforms.there.asynchronous: an asynchronous endpoint has",
        ),
        (
            "{kind: sagemaker, asynchronous: {}, capture: {}}",
            "penstock.yaml:4:46: platforms.there.capture: nothing says that SageMaker captures",
        ),
        ("{kind: sagemaker, asynchronous: {timeout: 2h}}", "platforms.there.asynchronous.timeout: 7200"),
        (
            "{kind: sagemaker, autoscale: {min: 0, max: 2, invocations: 9}}",
            "penstock.yaml:4:40: platforms.there.autoscale.min: an endpoint with",
        ),
        ("{kind: sagemaker, autoscale: {max: 2}}", "platforms.there.autoscale: `invocations` is missing"),
        (
            "{kind: sagemaker, autoscale: {max: 2, backlog: 3}}",
            "autoscale.backlog: AWS does not count this of a real-time endpoint: write `inv",
        ),
        (
            "{kind: sagemaker, asynchronous: {}, autoscale: {min: 0, max: 2, invocations: 3}}",
            "autoscale.invocations: AWS does not count this of an asynchronous endpoint: write `backlog`",
        ),
        ("{kind: sagemaker, capture: {percent: 0}}", "platforms.there.capture.percent: 0 is out of range"),
        ("3", "platforms.there: "),
    ],
)
def test_what_is_wrong_is_told_where_it_stands(section: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(FileProblems) as caught:
        checked(section, tmp_path)
    assert told in str(caught.value)


LINED = """name: x
task: text-classification
data: {{source: {{uri: rows.csv}}}}
train: {{base: hf://x/y}}
platforms:
  there: {{kind: sagemaker, region: eu-west-1, role: 'arn:aws:iam::123456789012:role/x', image: x, asynchronous: {}}}
deploy: {}
"""


@pytest.mark.parametrize(
    ("lined", "deploy", "told"),
    [
        ("{}", "{to: there}", ":7:1: deploy: the gateway gives up after 2 min 0 s, an asynchronous request may be worked on for 15 min"),
        ("{timeout: 1h}", "{to: there, protect: {timeout: 30m}}", ":7:31: deploy.protect.timeout: the gateway gives up after 30 min"),
        ("{timeout: 1m}", "{to: there, adapters: {a: 'sha256:0'}}", ":7:21: deploy.adapters: which adapters an instance holds"),
        ("{timeout: 1m}", "{to: there}", ""),
        ("{}", "{}", ""),
    ],
)
def test_what_an_asynchronous_endpoint_asks_of_the_deployment(lined: str, deploy: str, told: str) -> None:
    with pytest.raises(FileProblems) as caught:
        loads(LINED.format(lined, deploy).encode(), file=Path("penstock.yaml"))
    found = [line for line in str(caught.value).splitlines() if "asynchronous" in line]
    assert (told in found[0]) if told else not found


def test_a_platform_without_a_kind_is_this_machine(tmp_path: Path) -> None:
    assert checked("{workers: 2}", tmp_path).platforms["there"].kind == "local"


def test_kinds_are_kept_when_a_pipeline_is_written_and_read(tmp_path: Path) -> None:
    made = checked("{kind: kubernetes, image: x, pools: {a: {cpus: 4, memory: 8GiB, taints: ['spot=true:NoSchedule']}}}", tmp_path)
    again = Pipeline.model_validate(dump(made))
    assert again == made
    assert dump(made)["platforms"]["there"]["pools"]["a"]["memory"] == 8 << 30


def test_every_kind_has_a_name_of_its_own() -> None:
    names = [record.model_fields["kind"].annotation for record in KINDS]
    assert len(names) == len(set(names)) == 5


def test_this_machine_is_there_beside_others(tmp_path: Path) -> None:
    made = checked("{kind: kubernetes, image: x}", tmp_path)
    assert [(name, section.kind) for name, section in made.platforms.items()] == [("there", "kubernetes"), ("laptop", "local")]
    assert Pipeline.model_validate(dump(made)) == made
    taken = Pipeline.model_validate({**dump(made), "platforms": {"laptop": {"kind": "kubernetes", "image": "x"}}})
    assert [section.kind for section in taken.platforms.values()] == ["kubernetes"]
