"""What Keys must hold."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from sqlalchemy import inspect, text

from penstock.core.errors import BadInput, NotFound
from penstock.store.keys import Terms
from penstock.store.store import Store


class KeysConformance:
    def test_only_the_hash_is_kept(self, store: Store) -> None:
        key, secret = store.keys.create("ci")
        assert secret.startswith("psk-")
        assert len(secret) == 47
        assert key.sha256 == hashlib.sha256(secret.encode()).hexdigest()
        assert store.keys.list() == [key]
        with store.database.reading() as connection:
            for table in inspect(connection).get_table_names():
                assert secret not in str(connection.execute(text(f'SELECT * FROM "{table}"')).all())

    def test_revoked_by_id_or_name_once(self, store: Store) -> None:
        first, _ = store.keys.create("ci")
        store.clock.sleep(1)
        second, _ = store.keys.create("app")
        store.clock.sleep(5)
        (revoked,) = store.keys.revoke("ci")
        assert (revoked.id, revoked.revoked_at) == (first.id, store.clock.now())
        assert [k.revoked_at is None for k in store.keys.list()] == [False, True]
        with pytest.raises(NotFound, match="ci"):
            store.keys.revoke("ci")
        store.keys.revoke(second.id)
        assert all(k.revoked_at for k in store.keys.list())

    def test_terms_are_kept_changed_one_by_one_and_taken_back(self, store: Store) -> None:
        terms = Terms(requests_per_minute=60, budget_usd=20, budget_period="day", priority="high", models=("chat",))
        key, _ = store.keys.create("ci", terms)
        store.clock.sleep(1)
        other, _ = store.keys.create("free")
        assert store.keys.list() == [key, other]
        (changed,) = store.keys.limit("ci", {"tokens_per_minute": 1000, "requests_per_minute": None})
        assert changed.terms == Terms(None, 1000, None, 20, "day", "high", ("chat",))
        assert store.keys.list() == [changed, other]
        store.keys.limit(key.id, {"models": (), "budget_usd": None, "tokens_per_minute": None})
        assert store.keys.list()[0].terms == Terms(budget_period="day", priority="high")

    def test_terms_that_make_no_sense_are_refused_and_nothing_changes(self, store: Store) -> None:
        key, _ = store.keys.create("ci", Terms(concurrency=2))
        wrong_ones: list[dict[str, Any]] = [
            {"requests_per_minute": 0},
            {"tokens_per_minute": float("nan")},
            {"budget_usd": -1},
            {"budget_period": "week"},
        ]
        for wrong in (*wrong_ones, {"budget_period": "week"}, {"priority": "urgent"}):
            with pytest.raises(BadInput, match=next(iter(wrong))):
                store.keys.limit("ci", wrong)
        with pytest.raises(NotFound, match="nobody"):
            store.keys.limit("nobody", {"concurrency": 1})
        assert store.keys.list() == [key]
