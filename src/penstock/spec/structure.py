"""What must hold between the parts of a pipeline: combinations, names, references among steps, platforms, gates.

Works on plain values that may still be of a wrong shape, so that these problems are told together with all others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from penstock.spec import measured, operations
from penstock.spec.conditions import metrics_used
from penstock.spec.diagnose import Complaint, nearest, show
from penstock.spec.gates import GateSyntax, parse_gate
from penstock.spec.platforms.sagemaker import beside, conflicts

Place = tuple[str | int, ...]

# What each built-in step makes; the first is meant when an input names the step alone (stages/README.md).
BUILT_IN: dict[str, tuple[str, ...]] = {
    "data": ("dataset",),
    "train": ("model",),
    "optimize": ("export",),
    "bundle": ("bundle",),
    "evaluate": ("evaluation", "report"),
    "embedder": ("embedder",),
    "reference": ("reference",),
}

# Validation context of a caller that tells structural problems itself, with their lines.
CHECKED = {"structure": "checked by the caller"}


def complaints(data: Mapping[str, Any]) -> Iterator[Complaint]:
    """Every structural problem of the values of a pipeline (keys as in the file)."""
    yield from _combinations(data)
    yield from _task(data)
    yield from _platforms(data)
    yield from _gates(data)
    yield from _steps(data)
    yield from operations.complaints(data)


def _combinations(data: Mapping[str, Any]) -> Iterator[Complaint]:
    if not (data.get("data") or data.get("steps")):
        yield Complaint((), "a pipeline needs `data` with one source, or `steps`")
    if data.get("data") and data.get("task") is None:
        yield Complaint((), "`task` is needed: text-classification or text-generation")
    if data.get("train") is not None and not data.get("data"):
        yield Complaint(("train",), "`train` needs `data`", at_key=True)
    for later in ("optimize", "evaluate", "gates", "deploy"):
        if data.get(later) and data.get("train") is None:
            yield Complaint((later,), f"`{later}` needs `train`", at_key=True)
    present = built_in_steps(data)
    for name, options in _map(data.get("options")).items():
        if name in BUILT_IN and name not in present:
            yield Complaint(("options", name), f"this pipeline has no step '{name}'", at_key=True)
        resources = _map(_map(options).get("resources"))
        for several in ("nodes", "processes"):
            if name in BUILT_IN and name != "train" and resources.get(several, 1) not in (None, 1):
                why = f"'{name}' runs as one process; `train` and steps of your own can be several"
                yield Complaint(("options", name, "resources", several), why, at_key=True)


def _task(data: Mapping[str, Any]) -> Iterator[Complaint]:
    task, train = data.get("task"), data.get("train")
    section = _map(data.get("data"))
    if task == "text-classification":
        for part in ("sources", "test"):
            sources = section.get(part)
            for index, source in enumerate(sources if isinstance(sources, (list, tuple)) else ()):
                if isinstance(source, Mapping) and source.get("uri") is not None and source.get("label") is None:
                    yield Complaint(("data", part, index), "`label` is missing: name the column that holds the class")
    metrics = _map(data.get("evaluate")).get("metrics")
    for index, metric in enumerate(metrics if isinstance(metrics, (list, tuple)) else ()):
        fitting = measured.TASK_OF.get(str(metric), task)
        if isinstance(task, str) and fitting != task:
            yield Complaint(("evaluate", "metrics", index), f"{metric} is a metric of {fitting}, not of {task}")
    if task == "text-classification" and _map(data.get("deploy")).get("adapters"):
        yield Complaint(("deploy", "adapters"), "adapters stand on a decoder; a text-classification model takes none", at_key=True)
    if not isinstance(train, Mapping):
        return
    method = train.get("method", "full")
    pretrain = method == "pretrain" or _map(method).get("pretrain") is not None
    if pretrain and task == "text-classification":
        yield Complaint(("train", "method"), "pretrain makes a decoder, which fits text-generation; text-classification takes full or lora")
    if pretrain and train.get("base") is not None:
        yield Complaint(("train", "base"), "pretrain starts from random weights, so it takes no `base`")
    if not pretrain and train.get("base") is None:
        yield Complaint(
            ("train",),
            "`base` is missing: name the model to fine-tune, such as minilm or a local folder (only pretrain starts from nothing)",
        )


def built_in_steps(data: Mapping[str, Any]) -> list[str]:
    """Built-in steps that a pipeline with these sections has."""
    if data.get("train") is not None:
        return [name for name in BUILT_IN if name not in ("embedder", "reference")] + _of_drift(data)
    return ["data"] if data.get("data") else []


def _of_drift(data: Mapping[str, Any]) -> list[str]:
    """Steps that make what live requests are compared with: only where drift is declared that held-out rows can say something of."""
    if data.get("task") != "text-classification":
        return []
    drift = _map(data.get("monitor")).get("drift")
    entries = [_map(entry) for entry in (drift if isinstance(drift, (list, tuple)) else ())]
    of_rows = [entry for entry in entries if not entry.get("metadata") and entry.get("output") != "length" and entry]
    embedded = any(entry.get("input") == "embedding" for entry in of_rows)
    return [*(["embedder"] if embedded else []), *(["reference"] if of_rows else [])]


def _platforms(data: Mapping[str, Any]) -> Iterator[Complaint]:
    deploy, platforms = _map(data.get("deploy")), data.get("platforms")
    known = list(dict.fromkeys((*_map(platforms), "laptop")))
    wanted = deploy.get("to", "laptop")
    if data.get("deploy") is not None and isinstance(wanted, str) and wanted not in known:
        where: Place = ("deploy", "to") if "to" in deploy else ("deploy",)
        yield _no_platform(where, wanted, known)
    for at, placement in _placements(data):
        elsewhere = placement.get("on")
        if isinstance(elsewhere, str) and elsewhere not in known:
            yield _no_platform((*at, "on"), elsewhere, known)
    for name, section in _map(platforms).items():
        if isinstance(section, Mapping) and section.get("kind") == "sagemaker":
            for key, reason in conflicts(section):
                yield Complaint(("platforms", name, *key), reason, at_key=True)
            for key, reason in beside(section, deploy) if deploy and name == wanted else ():
                yield Complaint(_nearest(deploy, ("deploy", *key)), reason, at_key=True)


def _nearest(deploy: Mapping[str, Any], loc: tuple[str, ...]) -> tuple[str, ...]:
    """The key that is meant, or the one around it that was written."""
    here: Any = deploy
    for depth, key in enumerate(loc[1:], 1):
        if not isinstance(here, Mapping) or key not in here:
            return loc[:depth]
        here = here[key]
    return loc


def _no_platform(where: Place, wanted: str, known: list[str]) -> Complaint:
    listed = f"known here: {', '.join(known)}" if known else "none is declared"
    return Complaint(where, f"no platform is called {show(wanted)} ({listed})", nearest(wanted, known))


def _placements(data: Mapping[str, Any]) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    """Where each step may go otherwise, with its place in the file."""
    options, steps = _map(data.get("options")), data.get("steps")
    owners: list[tuple[Place, Any]] = [(("options", name), value) for name, value in options.items()]
    owners += [(("steps", index), value) for index, value in enumerate(steps if isinstance(steps, (list, tuple)) else ())]
    for at, owner in owners:
        listed = _map(_map(owner).get("resources")).get("otherwise")
        for index, placement in enumerate(listed if isinstance(listed, (list, tuple)) else ()):
            yield (*at, "resources", "otherwise", index), _map(placement)


def _gates(data: Mapping[str, Any]) -> Iterator[Complaint]:
    gates = data.get("gates")
    if isinstance(gates, str):
        gates = [gates]
    for index, gate in enumerate(gates if isinstance(gates, (list, tuple)) else ()):
        if not isinstance(gate, str):
            continue
        try:
            parsed = parse_gate(gate)
        except GateSyntax as error:
            yield Complaint(("gates", index), f"{show(gate)}, character {error.position + 1}: {error.reason}", error.suggestion)
            continue
        for reason, suggestion in measured.missing(metrics_used(parsed), data):
            yield Complaint(("gates", index), f"{show(gate)}: {reason}", suggestion)


def _steps(data: Mapping[str, Any]) -> Iterator[Complaint]:
    steps = (
        [(i, s) for i, s in enumerate(data.get("steps") or ()) if isinstance(s, Mapping)]
        if isinstance(data.get("steps"), (list, tuple))
        else []
    )
    present = built_in_steps(data)
    names: dict[str, int] = {}
    for index, step in steps:
        name = step.get("name")
        if not isinstance(name, str):
            continue
        if name in BUILT_IN:
            yield Complaint(("steps", index, "name"), f"'{name}' is the name of a built-in step; choose another")
        elif name == "evaluate-champion":
            yield Complaint(("steps", index, "name"), "'evaluate-champion' is the name of a step that gates add; choose another")
        elif "." in name:
            yield Complaint(("steps", index, "name"), f"{show(name)} holds a dot; `step.output` names an output, so step names hold none")
        elif name in names:
            yield Complaint(("steps", index, "name"), f"two steps are called '{name}'; step names are unique")
        names.setdefault(name, index)
    known = [*present, *names]
    edges: dict[str, list[str]] = {}
    for index, step in steps:
        for loc, wanted in _needs(step):
            target, dot, output = wanted.partition(".")
            if target not in known:
                reason = f"this pipeline has no built-in step '{target}'" if target in BUILT_IN else f"no step is called '{target}'"
                yield Complaint(("steps", index, *loc), f"{reason} (known: {', '.join(known)})", nearest(target, known))
            elif dot and target in BUILT_IN and output not in BUILT_IN[target]:
                made = BUILT_IN[target]
                yield Complaint(
                    ("steps", index, *loc), f"the step '{target}' makes {' and '.join(made)}, not '{output}'", nearest(output, made)
                )
            edges.setdefault(str(step.get("name")), []).append(target)
    yield from _cycles(edges, names)


def _needs(step: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    for parameter, wanted in _map(step.get("inputs")).items():
        if isinstance(wanted, str):
            yield ("inputs", parameter), wanted
    after = step.get("after")
    for index, wanted in enumerate(after if isinstance(after, (list, tuple)) else ()):
        if isinstance(wanted, str):
            yield ("after", index), wanted


def _cycles(edges: Mapping[str, list[str]], names: Mapping[str, int]) -> Iterator[Complaint]:
    done: set[str] = set()
    for start in names:
        path: list[str] = []
        pending = [(start, False)]
        while pending:
            name, leaving = pending.pop()
            if leaving:
                path.pop()
                done.add(name)
            elif name in path:
                ring = [*path[path.index(name) :], name]
                yield Complaint(("steps", names[name], "name"), f"steps wait for each other in a circle: {' → '.join(ring)}")
            elif name not in done and name in names:
                path.append(name)
                pending.append((name, True))
                pending.extend((needed, False) for needed in edges.get(name, ()))


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
