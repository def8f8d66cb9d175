"""Keys: equal in every process and for every order of keys; and sentences that say why two differ."""

import json
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from penstock.control.graph import Binding, Node
from penstock.control.keys import differences, key_parts, step_key

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
CONFIGS = st.dictionaries(st.text(max_size=6), VALUES, max_size=5)


def node(config: dict[str, object]) -> Node:
    return Node("train", "train", config, {"dataset": Binding("data", "dataset")})


def shuffled(value: object) -> object:
    if isinstance(value, dict):
        return {k: shuffled(v) for k, v in reversed(value.items())}
    return [shuffled(v) for v in value] if isinstance(value, list) else value


@given(CONFIGS)
def test_order_of_keys_does_not_count(config: dict[str, object]) -> None:
    inputs = {"dataset": "sha256:" + "0" * 64}
    again = shuffled(config)
    assert isinstance(again, dict)
    assert step_key(key_parts(node(config), inputs)) == step_key(key_parts(node(again), inputs))


def test_another_process_with_another_hash_seed_gives_the_same_keys() -> None:
    nested = {"b": [1, 2.5, None, {"z": True, "a": "é\u2028"}], "a": {"y": 1e-300, "x": -0.0}}
    configs: list[dict[str, object]] = [{}, {"a": 1, "b": 2, "c": 3}, nested, {str(n): n for n in range(50)}]
    code = (
        "import json,sys\nfrom penstock.control.graph import Binding,Node\nfrom penstock.control.keys import key_parts,step_key\n"
        "for c in json.load(sys.stdin):\n"
        "    n=Node('train','train',c,{'dataset':Binding('data','dataset')})\n"
        "    print(step_key(key_parts(n,{'dataset':'d'})))\n"
    )
    mine = [step_key(key_parts(node(c), {"dataset": "d"})) for c in configs]
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            input=json.dumps(configs),
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == mine


def test_every_part_counts() -> None:
    base = Node("s", "user", {"a": 1}, environment=("x==1",))
    keys = {
        step_key(key_parts(base, {"i": "1"})),
        step_key(key_parts(base, {"i": "2"})),
        step_key(key_parts(Node("s", "user", {"a": 2}, environment=("x==1",)), {"i": "1"})),
        step_key(key_parts(Node("s", "user", {"a": 1}, environment=("x==2",)), {"i": "1"})),
        step_key(key_parts(Node("s", "data", {"a": 1}, environment=("x==1",)), {"i": "1"})),
    }
    assert len(keys) == 5


def test_what_does_not_change_bytes_does_not_count() -> None:
    plain = Node("s", "user", {"a": 1})
    moved = Node("other", "user", {"a": 1}, external={"d": "elsewhere"}, timeout_s=5.0, attempts=9, memory_bytes=1)
    assert step_key(key_parts(plain, {})) == step_key(key_parts(moved, {}))


@given(CONFIGS, CONFIGS)
def test_differences_are_empty_exactly_for_equal_keys(old: dict[str, object], new: dict[str, object]) -> None:
    a, b = key_parts(node(old), {}), key_parts(node(new), {})
    if step_key(a) == step_key(b):
        # 1 and 1.0 differ as bytes but not as values, never the other way round.
        assert differences(a, b) == []
    elif a != b:
        assert differences(a, b)


def test_sentences_name_what_changed() -> None:
    old = {"stage_version": "1", "config": {"train": {"epochs": 3}, "code": {"my.mod": "d1"}}, "inputs": {"dataset": "d1"}}
    new = {"stage_version": "2", "config": {"train": {"epochs": 4}, "code": {"my.mod": "d2"}}, "inputs": {"dataset": "d2"}}
    assert differences(old, new) == [
        "code my.mod changed",
        "train.epochs changed: 3 → 4",
        "input dataset changed",
        "the stage itself changed (version 1 → 2)",
    ]
