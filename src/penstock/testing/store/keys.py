"""What Keys must hold."""

from __future__ import annotations

import hashlib

import pytest
from sqlalchemy import inspect, text

from penstock.core.errors import NotFound
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
