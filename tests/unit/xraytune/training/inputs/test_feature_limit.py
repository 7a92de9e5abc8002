"""Stores in use count with the whole length they may grow to, so that the limit of the cache holds."""

import numpy as np
import pytest

from xraytune.errors import TrialError
from xraytune.training.inputs import feature_store
from xraytune.training.inputs.feature_store import Store

SHAPE = (256, 64, 64)
ONE = 2 * int(np.prod(SHAPE))


def opened(folder, name, limit=2.5):
    return Store.open(folder / name, SHAPE, {}, int(limit * ONE))


def fill(store, blocks):
    store.fill(np.array(blocks), lambda _: np.ones((feature_store.BLOCK, *SHAPE[1:]), np.float16), lambda: None)


def test_two_stores_that_are_still_empty_leave_no_room_for_a_third(tmp_path):
    first, second = opened(tmp_path, "first"), opened(tmp_path, "second")
    with pytest.raises(TrialError, match=r"beside the .* that running trials use"):
        opened(tmp_path, "third")
    for store in (first, second):
        fill(store, range(4))
    assert feature_store.used_bytes(tmp_path) <= 2.5 * ONE


def test_a_store_that_was_left_partly_filled_makes_room_when_it_is_gone_on_with(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_store, "GROUP", 1)
    for name in ("first", "second", "third"):
        fill(opened(tmp_path, name), [0])  # a quarter of it
    assert feature_store.used_bytes(tmp_path) < ONE
    first, second = opened(tmp_path, "first", limit=2.1), opened(tmp_path, "second", limit=2.1)
    assert not (tmp_path / "third").exists()
    for store in (first, second):
        fill(store, range(4))
    assert feature_store.used_bytes(tmp_path) <= 2.1 * ONE


def test_a_store_in_use_is_joined_whatever_the_limit_is_by_now(tmp_path):
    first = opened(tmp_path, "first")
    assert opened(tmp_path, "first", limit=0.5).folder == first.folder


def test_sparse_stores_give_way_to_one_that_will_grow(tmp_path):
    opened(tmp_path, "first")
    opened(tmp_path, "second")  # both empty, over, and all but nothing on the disk
    first, second = opened(tmp_path, "first", limit=2.1), opened(tmp_path, "second", limit=2.1)
    with pytest.raises(TrialError):
        opened(tmp_path, "third", limit=2.1)
    assert first.folder.is_dir()
    assert second.folder.is_dir()
