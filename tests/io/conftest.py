"""Every store of the contract suite, by name."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from operators.io.sqlite import SqliteStore
from operators.io.store import Store


@pytest.fixture(params=["sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty, migrated store."""
    opened = SqliteStore(tmp_path / "store.db")
    opened.migrate()
    yield opened
    opened.close()
