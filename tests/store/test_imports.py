"""What the store costs at import: nothing until it is opened, and fsspec only where artifacts are remote."""

import subprocess
import sys


def _loaded(code: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", f"import sys; {code}; print(*sys.modules)"], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_package_alone_loads_nothing() -> None:
    assert not _loaded("import penstock, penstock.store") & {"sqlalchemy", "fsspec", "psycopg", "sqlite3"}


def test_a_local_store_needs_neither_fsspec_nor_psycopg() -> None:
    loaded = _loaded("from penstock.store.store import Store; Store.memory().close()")
    assert "sqlalchemy" in loaded
    assert not loaded & {"fsspec", "psycopg", "s3fs", "botocore"}
