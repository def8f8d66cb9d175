import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.spec.gates import (
    FUNCTIONS,
    MAX_LENGTH,
    AllOf,
    AnyOf,
    Arithmetic,
    ChampionTest,
    Comparison,
    Gate,
    GateSyntax,
    Metric,
    Number,
    metrics_used,
    needs_champion,
    parse_gate,
)
from penstock.spec.measured import missing


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("accuracy >= 0.90", Comparison(Metric("accuracy"), ">=", Number(0.9))),
        ("accuracy >= 90%", Comparison(Metric("accuracy"), ">=", Number(0.9))),
        ("low(accuracy)>=.88", Comparison(Metric("accuracy", "low"), ">=", Number(0.88))),
        ("latency.p95_ms <= 0.02s", Comparison(Metric("latency.p95_ms"), "<=", Number(20.0))),
        ("size_after_bytes < 5 MiB", Comparison(Metric("size_after_bytes"), "<", Number(5 * 2.0**20))),
        (
            "size_after_bytes <= 0.5 * size_before_bytes",
            Comparison(Metric("size_after_bytes"), "<=", Arithmetic("*", Number(0.5), Metric("size_before_bytes"))),
        ),
        (
            "a - b - 1 > -2 * c",
            Comparison(
                Arithmetic("-", Arithmetic("-", Metric("a"), Metric("b")), Number(1)), ">", Arithmetic("*", Number(-2.0), Metric("c"))
            ),
        ),
        ("0.5 < a <= 1", AllOf((Comparison(Number(0.5), "<", Metric("a")), Comparison(Metric("a"), "<=", Number(1))))),
        (
            "(a > 1 or b > 1) and (c) < 2",
            AllOf(
                (
                    AnyOf((Comparison(Metric("a"), ">", Number(1)), Comparison(Metric("b"), ">", Number(1)))),
                    Comparison(Metric("c"), "<", Number(2)),
                )
            ),
        ),
        (
            "not_worse_than(champion, accuracy, margin=0.5%, confidence=0.9)",
            ChampionTest("not_worse_than", "accuracy", 0.005, 0.9),
        ),
        ("not_worse_than(champion, macro_f1)", ChampionTest("not_worse_than", "macro_f1", 0.01, 0.95)),
        ("better_than(champion, perplexity)", ChampionTest("better_than", "perplexity", 0.0, 0.95)),
    ],
)
def test_a_gate_reads_as_written(text, condition):
    assert parse_gate(text) == Gate(text, condition)


@pytest.mark.parametrize(
    ("text", "position", "says", "suggestion"),
    [
        ("acc > ", 6, "expected a number or a metric, found 'the end'", None),
        ("accuracy = 0.9", 9, "one of < <= > >= == !=", "=="),
        ("accuracy ≥ 0.9", 9, "not part of the gate language", ">="),
        ("a > 1 adn b > 1", 6, "no unit is called 'adn'", "and"),
        ("not_wors_than(champion, accuracy)", 0, "not a gate function", "not_worse_than"),
        ("not_worse_than(chmpion, accuracy)", 15, "expected 'champion'", "champion"),
        ("not_worse_than(champion, acuracy)", 25, "cannot be tested row by row", "accuracy"),
        ("better_than(champion, accuracy, margn=1%)", 32, "not an option", "margin"),
        ("better_than(champion, accuracy, margin=1%, margin=2%)", 43, "given twice", None),
        ("better_than(champion, accuracy, confidence=1)", 43, "above 0.5 and below 1", None),
        ("better_than(champion, accuracy) > 1", 32, "expected 'and', 'or' or the end", None),
        ('approval(role="risk", count=1)', 0, "known: not_worse_than, better_than, low, high", None),
        ("lo(accuracy) > 1", 0, "not a gate function", "low"),
        ("accuracy > better_than(champion, accuracy)", 11, "yes or no, not a number", "better_than"),
        ("1 < 2", 0, "names at least one metric", None),
        ("accuracy > 20ms", 11, "20ms is a time, but no metric beside it is one", None),
        ("a_ms + b_s > 20ms", 13, "several units", None),
        ("a_ms > 1e999", 7, "too large", None),
        ("latency.p95_ms < 20msec", 19, "no unit is called 'msec'", "ms"),
        ("(" * 200 + "a > 1", 33, "more than 32 deep", None),
        ("-" * 200 + "a > 1", 33, "more than 32 deep", None),
        ("a" + " + a" * 200 + " > 1", 132, "more than 32 deep", None),
        ("a > 1 " * 1000, MAX_LENGTH, "at most 1000 characters", None),
        ("__import__('os').system('id') > 0", 16, "'.' is not part of the gate language", None),
        ("system('id') > 0", 0, "'system' is not a gate function", None),
    ],
)
def test_a_wrong_gate_says_where_why_and_the_nearest_spelling(text, position, says, suggestion):
    with pytest.raises(GateSyntax) as error:
        parse_gate(text)
    assert says in str(error.value)
    assert (error.value.position, error.value.suggestion) == (position, suggestion)


pieces = '( ) , = <= > == + - * / % ms and or champion accuracy latency.p95_ms 0.9 1e-3 MiB margin confidence "risk" é \x00 ١'
words = st.sampled_from([*FUNCTIONS, *pieces.split(" ")])


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(words, max_size=30).map(" ".join), st.lists(words, max_size=400).map("".join)))
def test_any_text_is_a_gate_or_a_gate_syntax_error_with_a_position_inside(text):
    found = read(text)
    if isinstance(found, GateSyntax):
        assert 0 <= found.position <= max(len(text), MAX_LENGTH)
        assert found.reason
    else:
        assert metrics_used(found)
        assert parse_gate(found.text) == found


def read(text):
    try:
        return parse_gate(text)
    except GateSyntax as error:
        return error


def test_a_gate_names_what_it_reads():
    gate = parse_gate("low(accuracy) > 0.8 and a / b < a and better_than(champion, macro_f1)")
    assert metrics_used(gate) == ("accuracy.low", "a", "b", "macro_f1")
    assert needs_champion(gate)
    assert not needs_champion(parse_gate("accuracy > 0.9"))


numbers = st.floats(0, 1e6).map(lambda x: Number(float(repr(x))))
values = st.recursive(
    st.one_of(numbers, st.sampled_from([Metric("accuracy"), Metric("a.b", "low"), Metric("c", "high")])),
    lambda inner: st.builds(Arithmetic, st.sampled_from("+-*/"), inner, inner),
    max_leaves=6,
)


def written(value):
    if isinstance(value, Number):
        return repr(value.value)
    if isinstance(value, Metric):
        return f"{value.end}({value.name})" if value.end else value.name
    return f"({written(value.left)} {value.sign} {written(value.right)})"


@settings(max_examples=150, deadline=None)
@given(values, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]))
def test_what_is_written_out_is_read_back(value, sign):
    assert parse_gate(f"{written(value)} {sign} accuracy").condition == Comparison(value, sign, Metric("accuracy"))


def test_a_metric_of_a_named_source_may_be_tested() -> None:
    found = parse_gate("not_worse_than(champion, old.accuracy, margin=0.02)").condition
    assert found == ChampionTest("not_worse_than", "old.accuracy", 0.02, 0.95)
    with pytest.raises(GateSyntax, match="cannot be tested row by row"):
        parse_gate("not_worse_than(champion, old.latency)")


@pytest.mark.parametrize(
    ("gate", "reason", "near"),
    [
        ("new.accuracy >= 0.8", None, None),
        ("other.macro_f1 >= 0.8", None, None),
        ("nwe.accuracy >= 0.8", "no test source is called 'nwe' (named ones: new, other)", "new.accuracy"),
        ("new.perplexity < 3", "perplexity is a metric of text-generation", None),
    ],
)
def test_named_sources_are_known_to_gates(gate: str, reason: str | None, near: str | None) -> None:
    data = {"task": "text-classification", "data": {"test": [{"uri": "a"}, {"uri": "b", "name": "new"}]}}
    found = list(missing(metrics_used(parse_gate(gate)), data))
    assert bool(found) == (reason is not None)
    if reason is not None:
        assert reason in found[0][0]
        assert found[0][1] == near
