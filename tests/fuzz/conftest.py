"""The fuzz tests share the time that is given to all of them."""

from __future__ import annotations

import pytest

from tests.fuzz import harness


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each of them has an equal share, and no other limit of its length."""
    harness.tests = max(1, len(items))
    for item in items:
        item.add_marker(pytest.mark.timeout(0))
        # Keras 3.15 when it saves
        item.add_marker(pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"))


def pytest_report_header() -> str:
    """How to repeat this run."""
    return f"fuzzing: FUZZ_SECONDS={harness.LENGTH:g} FUZZ_SEED={harness.SEED}"
