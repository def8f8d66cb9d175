"""Header rules, adapters, shadows, keys bound to models, prefix-aware choice, traces: what goes where, and what is recorded of it."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from typing import Any

import httpx

from penstock.serving.snapshot import Guard, HeaderRule, KeyEntry, KeyLimits, Price, Shadow, Snapshot
from penstock.testing.faults import faulty
from penstock.testing.plain import PLAIN
from penstock.testing.serving import KEY, SECRET, RunningGateway, Stage, snapshot_of, wait_for

AUTH = {"authorization": f"Bearer {SECRET}"}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def changed(snapshot: Snapshot, **fields: Any) -> Snapshot:
    return replace(snapshot, models=(replace(snapshot.models[0], **fields), *snapshot.models[1:]))


def test_the_first_header_rule_that_fits_decides_unless_a_version_is_pinned(stage: Stage) -> None:
    one, two, three = (stage.replica(f"r{n}", version=str(n)) for n in (1, 2, 3))
    rules = (
        HeaderRule("X-Team", "blue", "2"),
        HeaderRule("x-team", "blue", "3"),
        HeaderRule("x-beta", "1", "3"),
        HeaderRule("x-beta", "1", "9"),
    )
    gateway = stage.gateway(changed(snapshot_of(1, ("1", 1.0, [one]), ("2", 0.0, [two]), ("3", 0.0, [three])), headers=rules))

    def version(**headers: str) -> str:
        return gateway.ask({name.replace("_", "-"): value for name, value in headers.items()}).headers["x-penstock-version"]

    assert version() == "1"
    assert version(x_team="blue") == "2"
    assert version(x_team="red", x_beta="1") == "3"
    assert version(x_team="blue", x_penstock_version="1") == "1"


def test_a_shadow_gets_copies_and_never_touches_the_answer(stage: Stage) -> None:
    live, shadow = stage.replica("live"), faulty(stage, "shadow", "ok")
    snapshot = changed(snapshot_of(1, ("1", 1.0, [live]), ("2", 0.0, [shadow])), shadow=Shadow("2", 1.0))
    gateway = stage.gateway(snapshot)
    assert gateway.ask({"x-request-id": "one"}).headers["x-penstock-version"] == "1"
    assert gateway.stream()[1]
    records = gateway.records(4)
    copies = [r for r in records if r["shadow_of"]]
    assert [(r["version"], r["replica"], r["status"], r["cost_usd"]) for r in copies] == [("2", "shadow", 200, 0.0)] * 2
    assert {r["shadow_of"] for r in copies} == {r["id"] for r in records if not r["shadow_of"]}
    assert next(r["trace"] for r in copies if r["shadow_of"] == "one") == next(r["trace"] for r in records if r["id"] == "one")
    for fault in ("hang", "garbage", "error", "close"):
        shadow.be(fault)
        began = time.monotonic()
        assert {gateway.ask().status_code for _ in range(5)} == {200}
        assert time.monotonic() - began < 3
    assert gateway.metric("penstock_shadow_sent_total") + gateway.metric("penstock_shadow_dropped_total") == 22
    sampled = changed(snapshot_of(2, ("1", 1.0, [live]), ("2", 0.0, [shadow])), shadow=Shadow("2", 0.5))
    shadow.be("ok")
    gateway.apply(sampled)
    wait_for(lambda: _sent(gateway), 20, "half of what is asked is copied again")
    assert gateway.metric('penstock_requests_total{route="/v1/completions",model="echo",version="2"') == 0


def _sent(gateway: RunningGateway) -> bool:
    before = gateway.metric("penstock_shadow_sent_total")
    for _ in range(20):
        gateway.ask()
    return 3 < gateway.metric("penstock_shadow_sent_total") - before < 17


def test_adapters_are_names_and_go_to_the_versions_that_have_them(stage: Stage) -> None:
    plain, tuned = faulty(stage, "plain", "ok"), faulty(stage, "tuned", "ok")
    snapshot = snapshot_of(1, ("1", 0.9, [plain]), ("2", 0.1, [tuned]))
    route = snapshot.models[0]
    versions = (route.versions[0], replace(route.versions[1], adapters=("law", "med")))
    gateway = stage.gateway(changed(snapshot, versions=versions))
    found = {gateway.ask({"x-penstock-session": str(n)}, model="echo:law").headers["x-penstock-version"] for n in range(8)}
    assert found == {"2"}
    assert gateway.ask({"x-penstock-version": "1"}, model="echo:law").status_code == 503
    assert gateway.ask(model="echo:tax").status_code == 404
    models = httpx.get(f"{gateway.url}/v1/models", headers=AUTH, **PLAIN).json()["data"]
    assert [m["id"] for m in models] == ["echo", "echo:law", "echo:med"]
    assert (models[1]["parent"], [v["version"] for v in models[1]["versions"]]) == ("echo", ["2"])
    assert gateway.records(10)[0]["adapter"] == "law"


def test_a_key_bound_to_models_sees_and_uses_those_only(stage: Stage) -> None:
    replica = stage.replica("r1")
    secret = "psk-bound-0123456789"
    bound = KeyEntry("key-bound", "bound", sha256(secret.encode()).hexdigest(), models=("other",), limits=KeyLimits(requests_per_minute=2))
    one, other = snapshot_of(1, ("1", 1.0, [replica])), snapshot_of(1, ("1", 1.0, []), model="other")
    gateway = stage.gateway(replace(one, models=(*one.models, *other.models), keys=(KEY, bound)))
    headers = {"authorization": f"Bearer {secret}"}
    refused = gateway.ask(headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_allowed")
    listed = httpx.get(f"{gateway.url}/v1/models", headers=headers, **PLAIN).json()["data"]
    assert [m["id"] for m in listed] == ["other"]
    assert [gateway.ask(headers, model="other").status_code for _ in range(3)] == [503, 503, 429]
    errors = [(r["key"], r["model"], r["error"]) for r in gateway.records(4)]
    assert errors[0] == ("key-bound", "echo", "model_not_allowed") or errors[0] == ("key-bound", None, "model_not_allowed")
    assert errors[3] == ("key-bound", "other", "rate_limit_exceeded")


def test_prompts_with_the_same_beginning_go_where_it_was_read(stage: Stage) -> None:
    replicas = [stage.replica(f"r{n}") for n in range(3)]
    gateway = stage.gateway(snapshot_of(1, ("1", 1.0, replicas)))
    served: dict[int, Counter[str]] = {n: Counter() for n in range(6)}
    for turn in range(5):
        for talk in range(6):
            prompt = f"talk {talk} " * 60 + "and so on " * turn
            served[talk][gateway.ask(prompt=prompt).headers["x-penstock-replica"]] += 1
    assert all(len(found) == 1 for found in served.values())
    hits, misses = gateway.metric("penstock_prefix_hits_total"), gateway.metric("penstock_prefix_misses_total")
    assert (hits, misses) == (24, 6)


def test_a_trace_goes_through_and_a_record_says_all_that_is_known(stage: Stage) -> None:
    replica = stage.replica("r1")
    guards = (Guard("personal_data", "mask", "both"), Guard("words", "block", "input", words=("forbidden",)))
    gateway = stage.gateway(changed(snapshot_of(1, ("1", 1.0, [replica])), price=Price(1.0, 2.0, 0.5), experiment="exp-1", guards=guards))
    parent = "00f067aa0ba902b7"
    gateway.ask({"traceparent": f"00-{TRACE}-{parent}-01", "x-penstock-session": "me"})
    masked = gateway.ask({"traceparent": "nonsense"}, prompt="mail a@example.com now", max_tokens=3)
    blocked = gateway.ask(prompt="this is forbidden")
    assert masked.json()["choices"][0]["text"].split()[0] == "mail"
    assert "a@example.com" not in masked.text
    assert (blocked.status_code, blocked.json()["error"]["code"]) == (400, "content_blocked")
    first, second, third = gateway.records(3)
    assert (first["trace"], first["parent"], first["experiment"]) == (TRACE, parent, "exp-1")
    assert len(first["span"]) == 16
    assert first["span"] != parent
    assert len(first["session"]) == 16
    assert abs(first["cost_usd"] - (0.5 + (2 * 1.0 + 2 * 2.0) / 1e6)) < 1e-9
    assert second["trace"] != TRACE
    assert len(second["trace"]) == 32
    assert any(flag.startswith("input:personal_data:mask") for flag in second["flags"])
    assert second["guard_ms"] > 0
    assert (third["status"], third["error"], third["key"], third["model"]) == (400, "content_blocked", KEY.id, "echo")


def test_a_version_that_was_named_takes_no_part_in_an_experiment(stage: Stage) -> None:
    replicas = [stage.replica(f"r{n}", version=str(n)) for n in (1, 2)]
    snapshot = snapshot_of(1, ("1", 0.5, replicas[:1]), ("2", 0.5, replicas[1:]))
    gateway = stage.gateway(changed(snapshot, experiment="exp-1", headers=(HeaderRule("x-beta", "1", "2"),)))
    asked: list[dict[str, str]] = [{}, {"x-penstock-version": "1"}, {"x-beta": "1"}]
    for headers in asked:
        gateway.ask(headers)
    drawn, pinned, ruled = gateway.records(3)
    assert (pinned["version"], ruled["version"]) == ("1", "2")
    assert [row["experiment"] for row in (drawn, pinned, ruled)] == ["exp-1", None, None]


def test_feedback_is_taken_by_the_gateway(stage: Stage) -> None:
    gateway = stage.gateway(snapshot_of(1, ("1", 1.0, [stage.replica("r1")])))
    ident = gateway.ask().json()["id"]
    said = httpx.post(f"{gateway.url}/v1/feedback", json={"id": ident, "thumbs": "up"}, headers=AUTH, **PLAIN)
    assert (said.status_code, said.json()["request"], said.json()["score"]) == (200, ident, 1.0)
    bad = httpx.post(f"{gateway.url}/v1/feedback", json={"id": ident, "thumbs": "sideways"}, headers=AUTH, **PLAIN)
    assert (bad.status_code, bad.json()["error"]["param"]) == (400, "thumbs")
    assert httpx.post(f"{gateway.url}/v1/feedback", json={"id": ident, "thumbs": "up"}, **PLAIN).status_code == 401
    assert gateway.metric("penstock_feedback_total") == 1
    assert httpx.get(f"{gateway.url}/openapi.json", **PLAIN).json()["openapi"].startswith("3.1")
