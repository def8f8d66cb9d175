"""What the Audit log must hold: whatever is done to it behind its back is found, and the row is named."""

from __future__ import annotations

import pytest

from penstock.core.errors import AuditBroken
from penstock.store.audit import Head
from penstock.store.store import Store

_TAMPERINGS = {
    "detail": ("UPDATE audit SET detail = '{\"to\":2}' WHERE seq = 3", "row 3"),
    "principal": ("UPDATE audit SET principal = 'eve' WHERE seq = 1", "row 1"),
    "action": ("UPDATE audit SET action = 'nothing' WHERE seq = 2", "row 2"),
    "subject": ("UPDATE audit SET subject = 'other' WHERE seq = 2", "row 2"),
    "time": ("UPDATE audit SET at = at + 1 WHERE seq = 4", "row 4"),
    "hash": ("UPDATE audit SET hash = 'sha256:00' WHERE seq = 3", "row 3"),
    "removed": ("DELETE FROM audit WHERE seq = 3", "row 3"),
    "first removed": ("DELETE FROM audit WHERE seq = 1", "row 1"),
    "tail cut": ("DELETE FROM audit WHERE seq > 4", "row 5"),
    "all removed": ("DELETE FROM audit", "row 1"),
    "renumbered": ("UPDATE audit SET seq = seq + 100 WHERE seq = 6", "row 6"),
    "inserted": ("INSERT INTO audit SELECT 7, at, principal, action, subject, detail, hash, hash FROM audit WHERE seq = 6", "row 7"),
    "head removed": ("DELETE FROM audit_head", "head"),
}
_SWAP = ("UPDATE audit SET seq = 99 WHERE seq = 2", "UPDATE audit SET seq = 2 WHERE seq = 3", "UPDATE audit SET seq = 3 WHERE seq = 99")


def _six(store: Store) -> None:
    for number in range(6):
        store.audit.append("ada", "promote", f"intents/{number}", {"to": "champion", "n": number, "share": 0.1})
        store.clock.sleep(0.3)


def _tamper(store: Store, *statements: str) -> None:
    with store.database.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


class AuditConformance:
    def test_an_untouched_log_verifies(self, store: Store) -> None:
        assert store.audit.verify() == 0
        _six(store)
        assert store.audit.verify() == 6
        assert [(e.seq, e.detail["n"]) for e in store.audit.list()] == [(n + 1, n) for n in range(6)]
        assert store.audit.list(since=4, limit=1)[0].seq == 5
        assert store.audit.head().hash == store.audit.list()[-1].hash

    @pytest.mark.parametrize("how", sorted(_TAMPERINGS))
    def test_tampering_is_found_and_the_row_named(self, store: Store, how: str) -> None:
        _six(store)
        statement, where = _TAMPERINGS[how]
        _tamper(store, statement)
        with pytest.raises(AuditBroken) as caught:
            store.audit.verify()
        assert caught.value.where == where

    def test_rows_put_in_another_order(self, store: Store) -> None:
        _six(store)
        _tamper(store, *_SWAP)
        with pytest.raises(AuditBroken) as caught:
            store.audit.verify()
        assert caught.value.where == "row 2"

    def test_a_cut_with_the_head_moved_back_is_found_by_a_head_kept_elsewhere(self, store: Store) -> None:
        _six(store)
        kept = store.audit.head()
        fourth = store.audit.list()[3].hash
        _tamper(store, "DELETE FROM audit WHERE seq > 4", f"UPDATE audit_head SET seq = 4, hash = '{fourth}'")
        assert store.audit.verify() == 4
        with pytest.raises(AuditBroken, match="row 5 is missing"):
            store.audit.verify(kept)
        with pytest.raises(AuditBroken, match="rewritten"):
            store.audit.verify(Head(4, kept.hash))

    def test_an_entry_that_is_rolled_back_leaves_no_gap(self, store: Store) -> None:
        def fail_halfway() -> None:
            with store.database.begin():
                store.audit.append("ada", "promote", "x", {})
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail_halfway()
        store.audit.append("ada", "promote", "y", {})
        assert store.audit.verify() == 1
