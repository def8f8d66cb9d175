"""What a pipeline file may say, and how each mistake in it is told."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.core.errors import FileProblems, Problem
from penstock.spec.load import load
from penstock.spec.pipeline import Data, Deploy, Lora, Method, OptimizeRule, Pipeline, Quantize, Source, Split, Train, dump

Find = Callable[..., list[Problem]]
Write = Callable[[str | bytes], Path]


def test_a_good_file(written: Write, good: str) -> None:
    loaded = load(written(good))
    assert loaded.pipeline.name == "intents"
    assert loaded.pipeline.data is not None
    assert loaded.pipeline.data.split.validation == 0.05
    assert loaded.lines["train.method.lora.rank"] == 9
    assert loaded.lines["data.sources.0.label"] == 4


def test_python_and_file_are_one_object(written: Write, good: str) -> None:
    from penstock.spec.pipeline import CleanRule, Dedup, Normalize

    built = Pipeline(
        name="intents",
        task="text-classification",
        data=Data(
            sources=(Source(uri="train.csv", label="category"),),
            clean=(CleanRule(normalize=Normalize()), CleanRule(dedup=Dedup())),
            split=Split(validation=0.05, seed=7),
        ),
        train=Train(base="minilm", method=Method(lora=Lora(rank=8)), epochs=3),
        optimize=(OptimizeRule(quantize=Quantize()),),
        gates=("accuracy >= 0.90",),
        deploy=Deploy(to="laptop"),
    )
    loaded = load(written(good)).pipeline
    assert built == loaded
    assert dump(built) == dump(loaded)
    assert Pipeline.model_validate(dump(loaded)) == loaded


def test_python_is_held_to_the_same_rules() -> None:
    with pytest.raises(ValueError, match="no platform is called 'moon'"):
        Pipeline(
            name="a",
            task="text-classification",
            data=Data(sources=(Source(uri="x.csv", label="y"),)),
            train=Train(base="minilm"),
            deploy=Deploy(to="moon"),
        )


def test_all_problems_at_once_with_places_and_spellings(problems: Find) -> None:
    found = problems(
        """\
name: Support Intents
task: text-clasification
data:
  sources: [{uri: train.csv, lable: category}]
  clean: [normalise]
train:
  epoch: 8
  method: lorra
  batch_size: lots
  warmup: 6 percent
gates: accuracy >> 0.9
deploy: {to: lap-top}
"""
    )
    told = {(p.path, p.line, p.column, p.suggestion) for p in found}
    assert {
        ("name", 1, 7, None),
        ("task", 2, 7, "text-classification"),
        ("data.sources.0.lable", 4, 30, "label"),
        ("data.clean.0.normalise", 5, 11, "normalize"),
        ("train.epoch", 7, 3, "epochs"),
        ("train.method.lorra", 8, 11, "lora"),
        ("train.batch_size", 9, 15, None),
        ("train.warmup", 10, 11, None),
        ("deploy.to", 12, 14, "laptop"),
    } <= told
    assert any(p.path == "gates.0" and p.line == 11 for p in found)
    assert found == sorted(found, key=lambda p: (p.line, p.column))


@pytest.mark.parametrize(
    ("change", "path", "reason"),
    [
        ("epochs: -1", "train.epochs", "-1 is out of range; it must be above 0"),
        ("epochs: .inf", "", ".inf is not a finite number"),
        ("epochs: many", "train.epochs", "'many' is not a number"),
        ("batch_size: 1.5", "train.batch_size", "1.5 is not a whole number"),
        ("precision: fp16", "train.precision", "'fp16' is not known; choose auto, bf16 or fp32"),
        ("checkpoint_every: 3 moons", "train.checkpoint_every", "'3 moons' is not a duration"),
        ("checkpoint_every: [3]", "train.checkpoint_every", "needs a number, not a list of 1"),
        ("early_stopping: yes", "train.early_stopping", "needs a map, not 'yes'; its keys are metric, patience"),
        ("seed: 1e400", "", "1e400 is not a finite number"),
    ],
)
def test_values_of_the_wrong_kind(problems: Find, good: str, change: str, path: str, reason: str) -> None:
    found = problems(good.replace("epochs: 3", change))
    assert [(p.path, p.line) for p in found] == [(path, 10)]
    assert reason in found[0].reason


@pytest.mark.parametrize(
    ("content", "path", "reason"),
    [
        ("name: a\n", "", "a pipeline needs `data` with one source, or `steps`"),
        ("name: a\ntask: text-generation\ndata: {sources: []}\n", "data.sources", "is empty; it needs at least one item"),
        ("name: a\ndata: {sources: [{uri: train.csv}]}\n", "", "`task` is needed"),
        ("name: a\nsteps: [{name: s, uses: 'json:loads', with: {s: '1'}}]\ntrain: {base: minilm}\n", "train", "`train` needs `data`"),
        ("task: text-generation\ndata: {sources: [{uri: train.csv}]}\n", "name", "is missing"),
        ("name: 12\ndata: {sources: [{uri: train.csv}]}\ntask: text-generation\n", "name", "12 is not text; put it in quotes"),
        ("name: a\ntask: text-generation\ndata: {sources: [{uri: train.csv, dataset: b}]}\n", "data.sources.0", "exactly one of"),
        ("name: a\ntask: text-classification\ndata: {sources: [{uri: train.csv}]}\n", "data.sources.0", "`label` is missing"),
    ],
)
def test_combinations(problems: Find, content: str, path: str, reason: str) -> None:
    assert [p for p in problems(content) if p.path == path and reason in p.reason]


@pytest.mark.parametrize(
    ("change", "to", "path", "reason"),
    [
        ("base: minilm\n  method: {lora: {rank: 8}}", "method: pretrain", "train.method", "fits text-generation"),
        ("method: {lora: {rank: 8}}", "method: {lora: {}, full: {}}", "train.method", "exactly one of full, lora, pretrain"),
        ("  base: minilm\n", "", "train", "`base` is missing"),
        (
            "optimize: [{quantize: int8}]",
            "evaluate: {metrics: [perplexity, accuracy]}",
            "evaluate.metrics.0",
            "is a metric of text-generation",
        ),
        ("method: {lora: {rank: 8}}", "method: full\n  label_smoothing: 1", "train.label_smoothing", "it must be below 1"),
        ("deploy: {to: laptop}", "deploy: {scale: {min: 3, max: 2}}", "deploy.scale", "scale.max 2 is below scale.min 3"),
        ("deploy: {to: laptop}", "options: {trian: {timeout: 1h}}", "options.trian", "unknown key"),
        ("uri: train.csv", "uri: trian.csv", "data.sources.0.uri", "nothing is at"),
    ],
)
def test_impossible_together(problems: Find, good: str, change: str, to: str, path: str, reason: str) -> None:
    found = problems(good.replace(change, to))
    assert [p.path for p in found] == [path]
    assert reason in found[0].reason
    assert found[0].line > 0


@pytest.mark.parametrize(
    ("gate", "reason", "suggestion"),
    [
        ("acuracy >= 0.9", "no metric is called 'acuracy'", "accuracy"),
        ("accuracy.low >= 0.9 and latncy.p95_ms <= 20", "no metric is called 'latncy.p95_ms'", "latency.p95_ms"),
        ("perplexity < 3", "perplexity is a metric of text-generation", None),
        ("not_worse_than(champion, accuracy", "expected", None),
    ],
)
def test_gates_on_what_is_not_measured(problems: Find, good: str, gate: str, reason: str, suggestion: str | None) -> None:
    found = problems(good.replace("accuracy >= 0.90", gate))
    assert [(p.path, p.line, p.suggestion) for p in found] == [("gates.0", 13, suggestion)]
    assert reason in found[0].reason


def test_gates_on_what_evaluate_leaves_out(problems: Find, good: str) -> None:
    found = problems(good + "evaluate: {metrics: [macro_f1]}\n")
    assert "add accuracy to evaluate.metrics" in found[0].reason


@pytest.mark.parametrize(
    "gate",
    [
        "accuracy.low >= 0.9",
        "latency.p95_ms <= 20ms",
        "size_after_bytes < 50 MB",
        "calibration.ece < 5%",
        "rows.train > 10",
        "toxicity < 0.1",
    ],
)
def test_gates_on_what_is_measured(written: Write, good: str, gate: str) -> None:
    assert load(written(good.replace("accuracy >= 0.90", gate))).pipeline.gates == (gate,)


def test_gates_on_metrics_of_own_steps(written: Write, good: str) -> None:
    steps = "steps: [{name: acuracy, uses: 'json:loads', with: {s: '1'}}]\n"
    assert load(written(good.replace("accuracy >= 0.90", "acuracy.x >= 0.90") + steps)).pipeline.steps


def test_a_missing_file_beside_it_is_suggested(problems: Find, good: str) -> None:
    assert problems(good.replace("train.csv", "trian.csv"))[0].suggestion == "train.csv"


STEPS = """\
name: mine
steps:
  - {name: one, uses: "mine.work:load", with: {path: x}}
  - {name: two, uses: "mine.work:count", inputs: {rows: one}}
"""


@pytest.fixture
def package(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").write_text("raise RuntimeError('never import me')\n")
    functions = "def load(path: str): ...\nif True:\n    def count(rows: 'Folder', limit: int = 3): ...\nasync def later(): ...\n"
    code = f"{functions}raise RuntimeError('never import me')\n"
    (tmp_path / "mine" / "work.py").write_text(code)
    (tmp_path / "mine" / "broken.py").write_text("def f(:\n")


@pytest.mark.usefixtures("package")
class TestSteps:
    def test_good(self, written: Write) -> None:
        assert [s.name for s in load(written(STEPS)).pipeline.steps] == ["one", "two"]

    @pytest.mark.parametrize(
        ("change", "to", "path", "reason", "suggestion"),
        [
            ("name: two", "name: one", "steps.1.name", "two steps are called 'one'", None),
            ("name: one", "name: train", "steps.0.name", "the name of a built-in step", None),
            ("name: one", "name: o.ne", "steps.0.name", "holds a dot", None),
            ("rows: one", "rows: onne", "steps.1.inputs.rows", "no step is called 'onne'", "one"),
            ("rows: one", "rows: data", "steps.1.inputs.rows", "no built-in step 'data'", None),
            ("{rows: one}", "{row: one}", "steps.1.inputs.row", "no such parameter (it has: rows, limit)", "rows"),
            (", with: {path: x}", "", "steps.0.uses", "the parameter 'path' of mine.work:load is given neither", None),
            ("mine.work:load", "mine.work:laod", "steps.0.uses", "has no 'laod'", "load"),
            ("mine.work:load", "mine.works:load", "steps.0.uses", "no module 'mine.works'", None),
            ("mine.work:load", "mine.broken:f", "steps.0.uses", "cannot be read as Python (SyntaxError, line 1)", None),
            ("mine.work:load", "mine.work:later", "steps.0.uses", "is an async function", None),
            ("mine.work:load", "nothing here", "steps.0.uses", "write package.module:function", None),
            (", inputs: {rows: one}", ", after: [tow]", "steps.1.after.0", "no step is called 'tow'", "two"),
        ],
    )
    def test_mistakes(self, problems: Find, change: str, to: str, path: str, reason: str, suggestion: str | None) -> None:
        found = [p for p in problems(STEPS.replace(change, to)) if p.path == path]
        assert [reason in p.reason for p in found] == [True], found
        assert found[0].suggestion == suggestion
        assert found[0].line in (3, 4)

    def test_a_circle_is_drawn(self, problems: Find) -> None:
        found = problems(STEPS.replace("with: {path: x}", "inputs: {path: two}"))
        assert [p.reason for p in found] == ["steps wait for each other in a circle: one → two → one"]

    def test_a_step_that_waits_for_itself(self, problems: Find) -> None:
        found = problems(STEPS.replace("with: {path: x}", "with: {path: x}, after: [one]"))
        assert [p.reason for p in found] == ["steps wait for each other in a circle: one → one"]


class TestBytes:
    """Whatever the bytes, the answer is a place and a sentence."""

    @pytest.mark.parametrize(
        ("content", "line", "column", "reason"),
        [
            (b"", 1, 1, "the file is empty"),
            (b" \n\n", 1, 1, "the file is empty"),
            (b"# only words\n", 1, 1, "only comments"),
            (b"- a\n- b\n", 1, 1, "a pipeline file is a map of keys"),
            (b"just text\n", 1, 1, "a pipeline file is a map of keys"),
            (b"name: a\nb: \x00\n", 2, 1, "binary data"),
            (b"name: caf\xe9\n", 1, 10, "byte 0xe9 is not UTF-8"),
            (b"name: a\n\ttask: b\n", 2, 1, "a tab cannot be used here"),
            (b"name: a\ndata: [1, 2\n", 3, 1, "is not closed, or an item lacks its comma"),
            (b"name: 'a\nx: y\n", 1, 7, "a quote is opened here and never closed"),
            (b"name: a: b\n", 1, 8, "a second `: ` in one value"),
            (b"name: a\n  task: b\n", 2, 7, "a line indented too far"),
            (b"name: a\ntask\n", 2, 1, "a key without"),
            (b"train:\n    epochs: 3\n  seed: 7\n", 3, 3, "not indented like those above"),
            (b"name:\n", 1, 1, "is empty; it needs text"),
            (b"name: a\nname: b\n", 2, 1, "the key 'name' stands twice here; the first is on line 1"),
            (b"name: a\n---\nname: b\n", 2, 1, "a second document starts here"),
            (b"name: !!python/object:os.system a\n", 1, 7, "the tag"),
            (b"name: *nobody\n", 1, 7, "*nobody names no anchor"),
            (b"name: &a [*a]\n", 1, 11, "*a refers to itself"),
            (b"1: x\n", 1, 1, "a key must be text, not 1"),
            (b"? [a]\n: x\n", 1, 3, "a key must be text, not a list or map"),
            (b"a: " + b"[" * 3000, 1, 43, "nested deeper than 40 levels"),
        ],
    )
    def test_refused(self, problems: Find, content: bytes, line: int, column: int, reason: str) -> None:
        found = [p for p in problems(content) if reason in p.reason]
        assert [(p.line, p.column) for p in found] == [(line, column)], problems(content)

    def test_anchors_cannot_explode(self, problems: Find) -> None:
        rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
        rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
        assert any("grow beyond 20,000 values" in p.reason for p in problems("\n".join(rows)))

    def test_a_huge_file_is_not_read(self, tmp_path: Path) -> None:
        file = tmp_path / "penstock.yaml"
        with file.open("wb") as opened:
            opened.truncate(1 << 30)
        with pytest.raises(FileProblems, match="has more than 1,048,576 bytes"):
            load(file)

    def test_a_byte_order_mark_is_fine(self, written: Write, good: str) -> None:
        assert load(written(b"\xef\xbb\xbf" + good.encode())).pipeline.name == "intents"

    def test_anchors_and_merges_are_fine(self, written: Write) -> None:
        content = """\
name: a
task: text-classification
data:
  sources: [&s {uri: train.csv, label: category}]
  test: [{<<: *s, text: other}]
"""
        pipeline = load(written(content)).pipeline
        assert pipeline.data is not None
        assert pipeline.data.test[0] == Source(uri="train.csv", label="category", text="other")

    def test_no_such_file(self, tmp_path: Path) -> None:
        with pytest.raises(FileProblems, match="there is no such file"):
            load(tmp_path / "nothing.yaml")

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(FileProblems, match=r"is a folder; name the file in it"):
            load(tmp_path)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
    def test_an_unreadable_file(self, written: Write, good: str) -> None:
        file = written(good)
        file.chmod(0)
        with pytest.raises(FileProblems, match="cannot be read"):
            load(file)


def test_what_runs_as_several_processes(problems: Find, good: str) -> None:
    options = "options:\n  evaluate:\n    resources: {nodes: 2}\n  data: {resources: {processes: 4}}\n"
    options += "  train: {resources: {gpus: 2, processes: 4}}\n"
    found = {p.path: (p.line - good.count("\n"), p.reason) for p in problems(good + options)}
    assert found["options.evaluate.resources.nodes"] == (3, "'evaluate' runs as one process; `train` and steps of your own can be several")
    assert found["options.data.resources.processes"][0] == 4
    assert found["options.train.resources"] == (5, "4 processes on 2 accelerators: each needs one of its own")
