"""The fixture `search`: a search as a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.searching import Search


@pytest.fixture
def search(tmp_path: Path) -> Iterator[Search]:
    one = Search(tmp_path)
    yield one
    one.end()
