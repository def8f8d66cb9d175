"""`penstock export stepfunctions` against the emulator: Moto's interpreter runs the machine, the emulated SageMaker its jobs."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.control.api import run
from penstock.control.stepfunctions.export import Exported, Unasked, export, remove
from penstock.core.errors import BadInput, PenstockError, PlatformAway, PlatformDenied, PlatformFull, PlatformLacks
from penstock.core.home import Home
from penstock.platforms.sagemaker.aws import Aws
from penstock.platforms.sagemaker.errors import translated
from penstock.platforms.sagemaker.left import left
from penstock.platforms.sagemaker.settings import settings_of
from penstock.platforms.sagemaker.starts import group_name
from penstock.platforms.workflows import Start
from penstock.testing.emulators.sagemaker import SageMaker, interpreter
from penstock.testing.emulators.sagemaker.beside import STARTED
from penstock.testing.emulators.sagemaker.schedules import object_created
from penstock.testing.emulators.sagemaker.training import KIND
from penstock.testing.everywhere import Command
from penstock.testing.exported import keys, sums, write
from penstock.testing.jobs_suite import until

WAIT_S = 240.0  # for a busy machine


@pytest.fixture
def project(cloud: SageMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with user steps whose artifacts lie in a bucket. What still runs at the end is stopped."""
    monkeypatch.setenv("PENSTOCK_ARTIFACTS", f"{cloud.bucket()}/some/store")
    write(tmp_path, section(cloud), sums(tmp_path / "tries"))
    yield tmp_path
    for arn in running(cloud):
        cloud.account.client("stepfunctions").stop_execution(executionArn=arn)


def section(cloud: SageMaker, **more: Any) -> dict[str, Any]:
    return cloud.section(workflow_role=cloud.role, **more)


def running(cloud: SageMaker) -> list[str]:
    client = cloud.account.client("stepfunctions")
    machines = [row["stateMachineArn"] for row in client.list_state_machines()["stateMachines"]]
    rows = [row for arn in machines for row in client.list_executions(stateMachineArn=arn)["executions"]]
    return [row["executionArn"] for row in rows if row["status"] == "RUNNING"]


def ended(cloud: SageMaker, execution: str | None) -> dict[str, Any]:
    client = cloud.account.client("stepfunctions")
    assert execution is not None
    deadline = time.monotonic() + WAIT_S
    while (found := client.describe_execution(executionArn=execution))["status"] == "RUNNING":
        assert time.monotonic() < deadline, execution
        time.sleep(0.2)
    return dict(found)


def built(execution: dict[str, Any]) -> dict[str, str]:
    """Key by task."""
    assert execution["status"] == "SUCCEEDED", execution.get("cause")
    return {task: row["told"]["key"] for task, row in json.loads(execution["output"])["steps"].items()}


def leftovers(project: Path, cloud: SageMaker) -> list[str]:
    return list(left(Aws(settings_of(section(cloud))), Home.find(project).artifacts_url))


def submitted(project: Path, **more: Any) -> Exported:
    return export(project / "penstock.yaml", on="there", submit=True, **more)


def test_a_run_finds_what_the_machine_built(cloud: SageMaker, project: Path) -> None:
    """Steps at once, digests handed on, throttled on the way; answers that are lost make nothing twice."""
    again = {**sums(project / "tries-again")[1], "name": "again", "resources": {"spot": True}}
    two = {"inputs": {"left": "total", "right": "again"}, "resources": {"nodes": 2}}  # of several machines the first tells what came of it
    joined = {"name": "both-of-them", "uses": "work:both", **two}
    write(project, section(cloud, environment={"A": "b"}), [*sums(project / "tries"), again, joined])
    for operation in ("CreateStateMachine", "StartExecution"):
        cloud.account.faults.plan("lose_answer", operation)
    cloud.account.faults.plan("throttle", "CreateTrainingJob", times=2)
    made = submitted(project)
    branches = made.document["States"]["at once 1"]["Branches"]
    assert sorted(branch["StartAt"] for branch in branches) == ["again", "total"]
    done = built(ended(cloud, made.execution))
    assert len(cloud.account.of(KIND)) == 4
    assert len(cloud.account.client("stepfunctions").list_executions(stateMachineArn=made.machine)["executions"]) == 1
    assert [pause > 0 for pause in interpreter.PAUSES] == [True, True]
    assert leftovers(project, cloud) == [f"state machine {str(made.machine).rpartition(':')[2]}"]
    spot = next(job for name, job in cloud.account.of(KIND).items() if name.startswith("penstock-again-"))
    assert spot.request["EnableManagedSpotTraining"]
    assert spot.request["Environment"]["A"] == "b"
    result = run(project / "penstock.yaml", on="there")
    assert result.status == "succeeded"
    assert {name.replace("-", "_"): key for name, key in keys(result).items()} == done
    assert len(cloud.account.of(KIND)) == 4
    assert [(project / name).read_text() for name in ("tries", "tries-again")] == ["x", "x"]


def test_a_step_that_fails_is_named_and_not_done_again(cloud: SageMaker, project: Path) -> None:
    """The first failure may pass, the second is for good, the third an echo."""
    tries = project / "failed"
    retry = {"attempts": 3, "backoff": "10ms"}
    steps = [{"name": "fail", "uses": "work:fail", "with": {"tries": str(tries)}, "retry": retry}]
    write(project, section(cloud), steps)
    found = ended(cloud, submitted(project).execution)
    assert (found["status"], found["error"]) == ("FAILED", "step fail failed")
    assert "it cannot be" in json.loads(found["cause"])["FailureReason"]
    assert tries.read_text() == "xx"
    assert [name[-2:] for name in cloud.account.of(KIND)] == ["-0", "-1", "-2"]
    assert len({name[:-2] for name in cloud.account.of(KIND)}) == 1


def test_what_is_taken_away_stops_its_job(cloud: SageMaker, project: Path) -> None:
    write(project, section(cloud), [{"name": "wait", "uses": "work:wait", "with": {"seconds": 300.0}}])
    jobs, made = cloud.account.of(KIND), submitted(project)
    until(lambda: bool(jobs), WAIT_S)
    name, execution = (str(arn).rpartition(":")[2] for arn in (made.machine, made.execution))
    (job,) = jobs
    assert leftovers(project, cloud) == [f"execution {name}:{execution}", f"state machine {name}", f"training job {job}"]
    assert remove(project / "penstock.yaml", on="there") == [f"execution {execution} stopped", f"state machine {name} removed"]
    until(lambda: jobs[job].status in ("Stopping", "Stopped"), WAIT_S)
    until(lambda: not leftovers(project, cloud), WAIT_S)
    assert remove(project / "penstock.yaml", on="there") == []


def test_what_starts_it_is_followed(cloud: SageMaker, project: Path) -> None:
    """Made, changed and taken away with the machine; the bucket's other notifications stay."""
    data = cloud.bucket().removeprefix("s3://")
    s3, client, scheduler = (cloud.account.client(service) for service in ("s3", "stepfunctions", "scheduler"))
    topic = "arn:aws:sns:us-east-1:123456789012:told"
    cloud.account.client("sns").create_topic(Name="told")
    s3.put_bucket_notification_configuration(
        Bucket=data, NotificationConfiguration={"TopicConfigurations": [{"TopicArn": topic, "Events": ["s3:ObjectRemoved:*"]}]}
    )
    for operation in ("CreateSchedule", "PutRule", "PutTargets"):
        cloud.account.faults.plan("lose_answer", operation)
    table = sums(project / "tries")[:1]
    write(project, section(cloud), table)
    unasked = Unasked(["rate(1 day)", "cron(0 6 * * ? *)"], "Europe/Berlin", [f"s3://{data}/rows/"])
    made = submitted(project, unasked=unasked, parameters=["steps.table.with.times"])
    first = built(ended(cloud, made.execution))
    name = str(made.machine).rpartition(":")[2]
    assert [line.partition(":")[0] for line in made.did] == [
        f"state machine {name} made",
        f"schedule {name}-0 made",
        f"schedule {name}-1 made",
        f"bucket {data} tells EventBridge of its objects now (and still does when the rule is gone)",
        f"rule {name}-0 made",
    ]
    told = s3.get_bucket_notification_configuration(Bucket=data)
    assert told["TopicConfigurations"][0]["TopicArn"] == topic
    assert leftovers(project, cloud) == [f"rule {name}-0", f"schedule {name}-0", f"schedule {name}-1", f"state machine {name}"]
    assert object_created(cloud.account, data, "other/file") == []
    (by_object,) = object_created(cloud.account, data, "rows/new.jsonl")
    assert built(ended(cloud, f"{str(made.execution).rpartition(':')[0]}:{by_object}")) == first
    at_six = scheduler.get_schedule(GroupName=group_name(Home.find(project).artifacts_url), Name=f"{name}-1")
    assert (at_six["ScheduleExpression"], at_six["ScheduleExpressionTimezone"]) == ("cron(0 6 * * ? *)", "Europe/Berlin")
    assert (at_six["Target"]["Arn"], at_six["Target"]["RoleArn"], at_six["Target"]["Input"]) == (made.machine, cloud.role, "{}")

    other = client.start_execution(stateMachineArn=made.machine, name="other", input='{"steps_table_with_times": 7}')["executionArn"]
    second = built(ended(cloud, other))
    result = run(project / "penstock.yaml", overrides=["steps.table.with.times=7"], on="there")
    assert keys(result) == second != first
    assert len(cloud.account.of(KIND)) == 3

    fewer = submitted(project, unasked=Unasked(["rate(2 days)"]))
    assert fewer.did == [
        f"state machine {name} changed",
        f"schedule {name}-0 changed: rate(2 days) UTC",
        f"schedule {name}-1 removed",
        f"rule {name}-0 removed",
    ]
    asked = list(cloud.account.of(STARTED))
    assert asked[0].startswith(str(made.machine))
    assert asked[-1] == f"{made.machine}:2"  # the version that the change made: a machine may follow its old definition for a while
    assert built(ended(cloud, fewer.execution)) == first
    assert remove(project / "penstock.yaml", on="there") == [f"schedule {name}-0 removed", f"state machine {name} removed"]
    assert leftovers(project, cloud) == []
    assert not client.list_state_machines()["stateMachines"]


def test_sources_are_looked_at_when_it_runs(cloud: SageMaker, project: Path) -> None:
    """The machine knows what the bucket holds then, not on the day of the export: else a new object would change nothing."""
    bucket = cloud.bucket().removeprefix("s3://")

    def put(last: str) -> None:
        rows = [{"text": f"a text of some words, number {number}", "label": "even" if number % 2 == 0 else "odd"} for number in range(40)]
        text = "\n".join(json.dumps(row) for row in [*rows, {"text": last, "label": "odd"}])
        cloud.account.client("s3").put_object(Bucket=bucket, Key="rows.jsonl", Body=text.encode())

    put("the first")
    more = {
        "task": "text-classification",
        "data": {"sources": [{"uri": f"s3://{bucket}/rows.jsonl", "label": "label"}]},
    }
    write(project, section(cloud), [], **more, triggers=[{"data": "arrives"}])
    made = submitted(project, unasked=Unasked(triggers=True))
    assert made.anew == [f"s3://{bucket}/rows.jsonl"]
    assert made.starts == [{**made.starts[0], "bucket": bucket, "keys": ("rows.jsonl",)}]
    first = built(ended(cloud, made.execution))
    put("another")
    (name,) = object_created(cloud.account, bucket, "rows.jsonl")
    second = built(ended(cloud, f"{str(made.execution).rpartition(':')[0]}:{name}"))
    assert second["data"] != first["data"]
    jobs = len(cloud.account.of(KIND))
    write(project, section(cloud), [], **more)  # a run of a file with triggers would leave a process behind that keeps them
    result = run(project / "penstock.yaml", on="there")
    assert keys(result) == second
    assert len(cloud.account.of(KIND)) == jobs


def test_what_cannot_be_says_why(cloud: SageMaker, project: Path) -> None:
    file = project / "penstock.yaml"
    with pytest.raises(PlatformLacks, match="no state machines"):
        export(file)
    with pytest.raises(BadInput, match="rate"):
        export(file, on="there", unasked=Unasked(["rate(1 days)"]))
    with pytest.raises(BadInput, match="s3://BUCKET"):
        export(file, on="there", unasked=Unasked(objects=["gs://x"]))
    write(project, cloud.section(), sums(project / "tries"))
    with pytest.raises(PlatformLacks, match="workflow_role"):
        submitted(project)
    triggers = [{"cron": "0 6 1 * 1"}]
    write(project, section(cloud), sums(project / "tries"), triggers=triggers)
    assert [(one["what"], "--triggers" in one["why"]) for one in export(file, on="there").left_out] == [("triggers", True)]
    with pytest.raises(PlatformLacks, match=r"triggers\[0\]: .* days of the month and of the week"):
        export(file, on="there", unasked=Unasked(triggers=True))
    write(project, section(cloud), sums(project / "tries"), triggers=[{"data": "arrives"}])
    with pytest.raises(PlatformLacks, match="no source of the file lies there"):
        export(file, on="there", unasked=Unasked(triggers=True))
    cloud.account.identities.denied.add("CreateStateMachine")
    with pytest.raises(PlatformDenied, match="CreateStateMachine"):
        submitted(project)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("StateMachineLimitExceeded", PlatformFull),
        ("ServiceQuotaExceededException", PlatformFull),
        ("StateMachineDeleting", PlatformAway),
        ("InvalidDefinition", BadInput),
    ],
)
def test_refusals_are_ours(code: str, kind: type[PenstockError]) -> None:
    from botocore.exceptions import ClientError

    error = ClientError({"Error": {"Code": code, "Message": "so it is"}}, "CreateStateMachine")
    assert type(translated(error, "stepfunctions:CreateStateMachine")) is kind


def test_the_command_writes_what_it_would_make(cloud: SageMaker, project: Path) -> None:
    command = Command(project, {**cloud.environment, "PENSTOCK_ARTIFACTS": os.environ["PENSTOCK_ARTIFACTS"]})
    told = command("export", "stepfunctions", "--on", "there", "-o", "machine.json", "--schedule", "rate(1 day)")
    assert json.loads((project / "machine.json").read_text()) == told["document"]
    assert [Start(**row) for row in told["starts"]] == [Start(schedule="rate(1 day)", keys=[])]
    assert (told["machine"], told["execution"]) == (None, None)
    assert not cloud.account.client("stepfunctions").list_state_machines()["stateMachines"]
