"""Keys with limits through a real gateway: what official clients read, failed requests give back, workers share, budgets outlive a kill."""

from __future__ import annotations

import hashlib
import signal
import time
from collections.abc import Mapping
from dataclasses import replace

import httpx
import openai
import pytest

from penstock.serving.snapshot import KeyEntry, KeyLimits, Limits, Price, Snapshot
from penstock.serving.spend import read_spend
from penstock.testing.plain import PLAIN
from penstock.testing.serving import RunningGateway, Stage, snapshot_of, wait_for


def secret_of(name: str) -> str:
    return f"psk-{name}"


def limited(snapshot: Snapshot, **keys: Mapping[str, object]) -> Snapshot:
    """`snapshot` with keys of those names and limits, and a price of 1 USD a thousand tokens written."""
    entries = tuple(
        KeyEntry(f"key-{name}", name, hashlib.sha256(secret_of(name).encode()).hexdigest(), limits=KeyLimits(**limits))  # type: ignore[arg-type]
        for name, limits in keys.items()
    )
    models = tuple(replace(model, price=Price(completion=1000.0)) for model in snapshot.models)
    return replace(snapshot, keys=entries, models=models)


def ask(gateway: RunningGateway, name: str, max_tokens: int = 10, prompt: str = "a b") -> httpx.Response:
    headers = {"authorization": f"Bearer {secret_of(name)}"}
    body = {"model": "echo", "prompt": prompt, "max_tokens": max_tokens}
    return httpx.post(f"{gateway.url}/v1/completions", json=body, headers=headers, timeout=20, **PLAIN)


def test_a_kept_connection_hears_of_every_snapshot(stage: Stage) -> None:
    """Its head is the same each time and is not read again; what stands in it must be judged by the snapshot in force all the same."""
    plain = snapshot_of(1, ("1", 1.0, [stage.replica("r-1")]))
    gateway = stage.gateway(limited(plain, a={}, b={}))
    body = {"model": "echo", "prompt": "a b", "max_tokens": 2}
    with httpx.Client(trust_env=False, limits=httpx.Limits(max_connections=1)) as client:

        def asked(times: int = 1) -> list[int]:
            headers = {"authorization": f"Bearer {secret_of('a')}"}
            return [client.post(f"{gateway.url}/v1/completions", json=body, headers=headers).status_code for _ in range(times)]

        assert asked(3) == [200, 200, 200]
        gateway.apply(limited(replace(plain, version=2), b={}))
        assert asked(2) == [401, 401]
        gateway.apply(limited(replace(plain, version=3), a={"requests_per_minute": 2}))
        assert asked(3) == [200, 200, 429]
        gateway.apply(limited(replace(plain, version=4), a={"budget_usd": 0.0}))
        assert asked(2) == [429, 429]
        gateway.apply(limited(replace(plain, version=5, models=()), a={}))
        assert asked() == [404]
        gateway.apply(limited(replace(plain, version=6), a={}))
        assert asked(2) == [200, 200]
        small = replace(plain, version=7, limits=Limits(max_body_bytes=20))
        gateway.apply(limited(small, a={}))
        assert asked() == [413]
    wait_for(lambda: gateway.metric("penstock_connections") <= 1, 5, "the connection is over")
    assert len({record["session"] for record in gateway.records(13) if record["status"] == 200}) == 1


def test_limits_through_the_gateway(stage: Stage) -> None:
    plain = snapshot_of(1, ("1", 1.0, [stage.replica("r-1")]))
    gateway = stage.gateway(
        limited(
            plain,
            slow={"requests_per_minute": 2},
            words={"tokens_per_minute": 200},
            poor={"budget_usd": 0.025, "budget_period": "total"},
            free={},
        )
    )
    assert not [name for name in ask(gateway, "free").headers if name.startswith("x-ratelimit")]
    first = ask(gateway, "slow")
    assert (first.headers["x-ratelimit-limit-requests"], first.headers["x-ratelimit-remaining-requests"]) == ("2", "1")
    assert ask(gateway, "slow").status_code == 200
    refused = ask(gateway, "slow")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert 25 <= int(refused.headers["retry-after"]) <= 30
    # Tokens: what was not used comes back, also when the engine breaks.
    for _ in range(4):
        assert ask(gateway, "words", max_tokens=100, prompt="boom").status_code == 500
    before = ask(gateway, "words", max_tokens=1)
    assert before.status_code == 200
    assert int(before.headers["x-ratelimit-remaining-tokens"]) > 150
    assert ask(gateway, "words", max_tokens=500).json()["error"]["param"] == "max_tokens"
    # Money: 10 tokens cost 0.01 USD.
    assert [ask(gateway, "poor").status_code for _ in range(3)] == [200, 200, 429]
    assert ask(gateway, "poor", max_tokens=5).status_code == 200
    spent = ask(gateway, "poor", max_tokens=1)
    assert (spent.status_code, spent.json()["error"]["code"]) == (429, "insufficient_quota")
    assert read_spend(gateway.folder, time.time())["key-poor"].total_usd == pytest.approx(0.025)
    # The budget outlives a kill.
    gateway.stop(signal.SIGKILL)
    again = stage.gateway(None)
    assert ask(again, "poor", max_tokens=1).json()["error"]["code"] == "insufficient_quota"


def test_the_official_client_waits_as_it_is_told(stage: Stage) -> None:
    plain = snapshot_of(1, ("1", 1.0, [stage.replica("r-1")]))
    gateway = stage.gateway(limited(plain, fast={"requests_per_minute": 60}, poor={"budget_usd": 0.0}))
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=secret_of("fast"), max_retries=4) as client:
        for _ in range(61):
            client.completions.create(model="echo", prompt="a b", max_tokens=1)
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=secret_of("poor"), max_retries=4) as client:
        began = time.monotonic()
        with pytest.raises(openai.RateLimitError) as caught:
            client.completions.create(model="echo", prompt="a b", max_tokens=1)
    assert caught.value.code == "insufficient_quota"
    assert time.monotonic() - began < 2  # it was told not to try again


def test_workers_share_what_a_key_may(stage: Stage) -> None:
    plain = snapshot_of(1, ("1", 1.0, [stage.replica("r-1")]))
    gateway = stage.gateway(limited(plain, slow={"requests_per_minute": 12}, poor={"budget_usd": 0.1, "budget_period": "month"}), workers=2)
    assert sorted(ask(gateway, "slow").status_code for _ in range(20)) == [200] * 12 + [429] * 8  # a connection each: both workers answer
    assert sorted(ask(gateway, "poor").status_code for _ in range(20)) == [200] * 10 + [429] * 10
    wait_for(lambda: read_spend(gateway.folder, time.time())["key-poor"].month_usd == pytest.approx(0.1), 5, "the spend")


def test_who_leaves_in_the_middle_pays_for_what_was_written(stage: Stage) -> None:
    plain = snapshot_of(1, ("1", 1.0, [stage.replica("r-1", settings={"step_s": 0.02})]))
    gateway = stage.gateway(limited(plain, poor={"budget_usd": 1.0, "budget_period": "total", "concurrency": 1}))
    headers = {"authorization": f"Bearer {secret_of('poor')}"}
    body = {"model": "echo", "prompt": "a b", "max_tokens": 900, "stream": True}
    with httpx.stream("POST", f"{gateway.url}/v1/completions", json=body, headers=headers, timeout=20, **PLAIN) as answer:
        events = [line for line, _ in zip((line for line in answer.iter_lines() if line), range(20), strict=False)]
    assert len(events) == 20
    wait_for(lambda: read_spend(gateway.folder, time.time())["key-poor"].total_usd > 0, 10, "the spend")
    assert 0.02 <= read_spend(gateway.folder, time.time())["key-poor"].total_usd < 0.2
    wait_for(lambda: ask(gateway, "poor", max_tokens=1).status_code == 200, 10, "the place in flight")
