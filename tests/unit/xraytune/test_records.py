"""Records validate themselves, survive JSON and name what differs."""

from __future__ import annotations

import json
import pickle

import pytest

from xraytune.errors import TrialError
from xraytune.records import EpochReport, FailureCause, StudySpec, TrialConfig, TrialResult


def spec(**changes):
    return StudySpec(
        **{
            "name": "s",
            "data": "demo",
            "train_fingerprint": "a",
            "test_fingerprint": "b",
            "classes": ("n", "p"),
            "positive": 1,
            "space": "smoke",
            "space_signature": "c",
            "families": ("cnn", "dense"),
            "narrowed": {"image_size": (28, 48)},
        }
        | changes
    )


RECORDS = [
    TrialConfig("cnn", {"a": 1, "b": 0.5, "c": "x", "d": True}, 3),
    EpochReport(2, 0.5, {"loss": 1.0}, {"train": 2.0}, best_value=0.6, done=True),
    TrialResult(0.9, 1, 2, {"auc": 0.9}, ({"epoch": 1.0}, {"epoch": 2.0}), {}, 10, 5.0, {"keras": "3"}, "cpu", "h"),
    spec(),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: type(r).__name__)
def test_a_record_survives_json(record):
    again = type(record).from_json(json.loads(json.dumps(record.to_json())))
    assert again.to_json() == record.to_json()
    assert again == record


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: type(r).__name__)
def test_an_unknown_key_is_refused(record):
    with pytest.raises(ValueError, match="surprise"):
        type(record).from_json(record.to_json() | {"surprise": 1})


@pytest.mark.parametrize(
    "make",
    [
        lambda: TrialConfig("", {}, 0),
        lambda: TrialConfig("cnn", {}, -1),
        lambda: TrialConfig("cnn", {"a": [1]}, 0),
        lambda: EpochReport(0, 0.5, {}, {}),
        lambda: EpochReport(1, float("nan"), {}, {}),
        lambda: spec(beta=0),
        lambda: spec(classes=("one",)),
        lambda: spec(objective="luck"),
        lambda: spec(fit="stretch"),
    ],
)
def test_a_record_out_of_range_is_never_made(make):
    with pytest.raises(ValueError):  # noqa: PT011 - each message is its own
        make()


def test_differences_name_the_field_and_both_values():
    assert spec(beta=1.0).differences(spec(name="other")) == ["beta: 1.0 in the study, 2.0 now"]
    assert spec().differences(spec()) == []


def test_a_trial_error_keeps_its_cause_through_pickling():
    error = pickle.loads(pickle.dumps(TrialError(FailureCause.OOM, "too large")))
    assert (error.cause, error.message) == (FailureCause.OOM, "too large")
