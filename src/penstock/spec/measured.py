"""Which metrics a pipeline will have, as far as the file tells: so that a gate on a misspelt one is refused before training.

User steps may add any metric under their own name and a dot, and stages some of their own: a name that resembles none is let through.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_CLASSIFICATION = ("accuracy", "precision", "recall", "macro_f1", "micro_f1", "weighted_f1", "calibration")
_GENERATION = ("perplexity", "bits_per_character")

# Families as `evaluate.metrics` asks for them, with the one task that they fit; `latency` fits every task.
TASK_OF = {**dict.fromkeys(_CLASSIFICATION, "text-classification"), **dict.fromkeys(_GENERATION, "text-generation")}

# Flat names of each family that is not a name itself.
_MEMBERS = {
    "calibration": ("calibration.ece", "calibration.brier", "calibration.nll"),
    "bits_per_character": ("bits_per_character", "nats_per_character"),
    "latency": (
        *(f"latency.p{q}_ms" for q in (50, 95, 99)),
        *(f"latency.first_token_p{q}_ms" for q in (50, 95)),
        "throughput_rps",
        "throughput_tokens_per_s",
    ),
}
FAMILY_OF = {name: family for family in (*TASK_OF, "latency") for name in _MEMBERS.get(family, (family,))}
_OTHERS = (
    "size_before_bytes",
    "size_after_bytes",
    "size_export_bytes",
    "size_bytes",
    "rows.train",
    "rows.validation",
    "rows.test",
    "validation.loss",
)
NEAR = 0.75


def _sources(data: Mapping[str, Any]) -> list[str]:
    """Names of the sources whose rows are measured on their own."""
    section = data.get("data")
    found = section.get("test") or section.get("sources") if isinstance(section, Mapping) else None
    rows = found if isinstance(found, (list, tuple)) else ()
    names = [row["name"] for row in rows if isinstance(row, Mapping) and isinstance(row.get("name"), str)]
    return [*names, "other"] if names else []


def missing(names: Iterable[str], data: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """(reason, nearest spelling) for each flat metric name that the pipeline of these values will not measure."""
    task, evaluate = data.get("task"), data.get("evaluate")
    asked = evaluate.get("metrics") if isinstance(evaluate, Mapping) else None
    steps = data.get("steps")
    own = [s.get("name") for s in (steps if isinstance(steps, (list, tuple)) else ()) if isinstance(s, Mapping)]
    sources = _sources(data)
    for name in names:
        bare = name.removesuffix(".low").removesuffix(".high")
        first, _, rest = bare.partition(".")
        if rest and first in sources:
            bare = rest
        elif rest in FAMILY_OF and first not in own:
            listed = ", ".join(sources) or "none"
            near = difflib.get_close_matches(first, sources, 1, 0.6)
            yield f"no test source is called {first!r} (named ones: {listed})", f"{near[0]}.{rest}" if near else None
            continue
        family = FAMILY_OF.get(bare)
        if family is None:
            near = difflib.get_close_matches(bare, (*FAMILY_OF, *_OTHERS), 1, NEAR)
            if near and bare not in _OTHERS and bare.partition(".")[0] not in own and not bare.startswith("calibration."):
                yield f"no metric is called {bare!r}", near[0]
        elif isinstance(task, str) and TASK_OF.get(family, task) != task:
            yield f"{bare} is a metric of {TASK_OF[family]}, not of {task}", None
        elif isinstance(asked, (list, tuple)) and asked and family not in asked:
            yield f"{bare} is not measured: add {family} to evaluate.metrics", None
