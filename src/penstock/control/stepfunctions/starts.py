"""What shall start a state machine: options of the command, and triggers of the file, as EventBridge has them. Pure.

Sources: "Schedule types in EventBridge Scheduler" (six fields, Sunday is 1, one of the two day fields is `?`), "Amazon S3 Event
Notifications with EventBridge".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit

from penstock.core.errors import BadInput, PlatformLacks
from penstock.platforms.workflows import Start
from penstock.spec.pipeline import Pipeline
from penstock.spec.react import Trigger

_RATE = re.compile(r"rate\((1 (minute|hour|day)|([2-9]|[1-9]\d+) (minutes|hours|days))\)")
_CRON = re.compile(r"cron\(\S+( \S+){5}\)")
_LONGEST = 256
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


def scheduled(text: str, timezone: str) -> Start:
    """Raises BadInput."""
    if not (_RATE.fullmatch(text) or _CRON.fullmatch(text)):
        raise BadInput(
            f"--schedule {text!r} is no schedule of EventBridge",
            remedy="Write rate(1 day), rate(6 hours), or cron(MINUTE HOUR DAY MONTH WEEKDAY YEAR): cron(0 6 * * ? *).",
        )
    return Start(schedule=text, timezone=timezone)


def on_objects(uri: str) -> Start:
    """Raises BadInput."""
    split = urlsplit(uri)
    if split.scheme != "s3" or not split.netloc:
        raise BadInput(f"--when-object {uri!r}: write s3://BUCKET/PREFIX")
    return Start(bucket=split.netloc, prefix=split.path.lstrip("/"))


def of_triggers(pipeline: Pipeline) -> list[Start]:
    """The file's own. Raises PlatformLacks for one that AWS cannot keep, with its reason."""
    return [start for at, trigger in enumerate(pipeline.triggers) for start in _trigger(trigger, f"triggers[{at}]", pipeline)]


def _trigger(trigger: Trigger, where: str, pipeline: Pipeline) -> Iterable[Start]:
    if trigger.do != "run":
        raise _refused(where, "`do: retrain` takes rows from the requests of a deployment, which only the background process can")
    if trigger.cron is not None:
        return [Start(schedule=aws_cron(trigger.cron, where), timezone=trigger.timezone)]
    keys: dict[str, list[str]] = {}
    for source in sources_of(pipeline):
        split = urlsplit(source)
        if split.scheme == "s3":
            keys.setdefault(split.netloc, []).append(split.path.lstrip("/"))
    if not keys:
        raise _refused(where, "`data: arrives` is told by S3, and no source of the file lies there")
    return [Start(bucket=bucket, keys=tuple(sorted(set(names)))) for bucket, names in sorted(keys.items())]


def sources_of(pipeline: Pipeline) -> Sequence[str]:
    """URIs of the data's sources."""
    data = pipeline.data
    return [source.uri for source in (*data.sources, *data.test) if source.uri] if data is not None else []


def aws_cron(line: str, where: str) -> str:
    """A cron line of five fields as EventBridge has it. Raises PlatformLacks for what has no word there."""
    from cronsim import CronSim

    parsed = CronSim(line, datetime(2000, 1, 1, tzinfo=UTC))
    if any(not isinstance(value, int) or value < 0 for values in (parsed.days, parsed.weekdays) for value in values):
        raise _refused(where, f"{line!r} counts from the end of a month, or weeks within it")
    days, weekdays = set(parsed.days), {value % 7 for value in parsed.weekdays if isinstance(value, int)}
    every_day, every_weekday = len(days) == 31, len(weekdays) == 7
    if not every_day and not every_weekday:
        raise _refused(where, f"{line!r} names days of the month and of the week; a schedule of AWS has one or the other")
    named = "?" if every_weekday else ",".join(_DAYS[value] for value in sorted(weekdays))
    month_days = "?" if not every_weekday else _listed(days, 31)
    text = f"cron({_listed(parsed.minutes, 60)} {_listed(parsed.hours, 24)} {month_days} {_listed(parsed.months, 12)} {named} *)"
    if len(text) > _LONGEST:
        raise _refused(where, f"{line!r} has more than {_LONGEST} characters there")
    return text


def _listed(values: Iterable[int], all_of: int) -> str:
    """`*`, or numbers and ranges."""
    numbers = sorted(values)
    if len(numbers) == all_of:
        return "*"
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _refused(where: str, why: str) -> PlatformLacks:
    return PlatformLacks(f"{where}: {why}", remedy="Leave it to `penstock up`, or leave out --triggers and say when with --schedule.")
