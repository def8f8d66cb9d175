"""State machines, rules, schedules and alarms of moto taken away, of which it keeps one set for the whole process."""

from __future__ import annotations

import datetime

from penstock.testing.emulators.sagemaker.account import MACHINES, NUMBER, REGION, Account


def forget(account: Account) -> None:
    """What runs is stopped."""
    from moto.cloudwatch.models import cloudwatch_backends

    cloudwatch_backends[NUMBER][REGION].alarms.clear()
    mine = [arn for arn, owner in MACHINES.items() if owner is account]
    if not mine:
        return
    from moto.events.models import events_backends
    from moto.scheduler.models import scheduler_backends
    from moto.stepfunctions.parser.models import stepfunctions_parser_backends

    from penstock.testing.emulators.sagemaker import interpreter

    machines = stepfunctions_parser_backends[NUMBER][REGION].state_machines
    for execution in (one for machine in machines for one in machine.executions):
        worker = execution.exec_worker
        if execution.status == "RUNNING" and worker is not None and worker.env is not None:
            worker.stop(datetime.datetime.now(datetime.UTC), None, None)
    machines.clear()
    for arn in mine:
        del MACHINES[arn]
    interpreter.PAUSES.clear()
    for bus in events_backends[NUMBER][REGION].event_buses.values():
        bus.rules.clear()
    groups = scheduler_backends[NUMBER][REGION].schedule_groups
    for name in [name for name in groups if name != "default"]:
        del groups[name]
