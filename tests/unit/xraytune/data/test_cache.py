"""Where the cache is: a place that can't be is one message that says how to name another."""

from __future__ import annotations

import pytest

from xraytune.data import cache
from xraytune.errors import InputError


@pytest.mark.parametrize("named", ["~nobody-of-this-name/x", "/proc/no/cache", "/dev/null/x", "x" * 300])
def test_a_cache_that_can_not_be_made_names_the_variable_and_no_option_that_may_be_missing(monkeypatch, named):
    monkeypatch.setenv("XRAYTUNE_CACHE", named)
    with pytest.raises(InputError) as refused:
        cache.folder("inspected")
    assert "XRAYTUNE_CACHE=FOLDER" in str(refused.value)
    assert "--cache" not in str(refused.value)
    assert named[:20] in str(refused.value)


def test_a_home_that_can_not_be_written_is_one_message(monkeypatch):
    monkeypatch.delenv("XRAYTUNE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/proc/nohome")
    with pytest.raises(InputError, match="XRAYTUNE_CACHE=FOLDER"):
        cache.folder()
