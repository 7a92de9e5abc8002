"""Events of a small study, in their order."""

from __future__ import annotations

from search.tracking.callbacks import Epoch, RetrainEnd, SearchEnd, TrialEnd, TrialStart
from tests.inputs.made_studies import result, spec
from xraytune.records import EpochReport, TrialConfig

CONFIGS = {
    0: TrialConfig("cnn", {"family": "cnn", "cnn/blocks": 3, "learning_rate": 0.01}, 5),
    1: TrialConfig("dense", {"family": "dense", "dense/batch_norm": True}, 6),
}
FINAL = {"test": {"overall": {"auc": [0.9, 0.8, 0.95], "specificity": [None, None, None]}}}


def epoch(number, value, judged=True):
    metrics = {"val_auc": value, "view_like NORMAL": 0.5, "loss": float("nan")}
    return EpochReport(epoch=number, value=value, metrics=metrics, seconds={}, judged=judged)


def trial(folder, number, values, state="COMPLETE"):
    """All events of one trial, whose objective is measured in its first epoch and in every second from there."""
    study, config = spec(), CONFIGS[number]
    yield TrialStart(study, folder, number, config)
    for i, value in enumerate(values):
        yield Epoch(study, folder, number, epoch(i + 1, value, judged=i % 2 == 0))
    found = result(max(values), len(values), metrics={"val_auc": max(values)}) if state == "COMPLETE" else None
    failed = ("oom", "no memory") if state == "FAIL" else ("", "")
    yield TrialEnd(study, folder, number, config, state, found, *failed)


def session(folder, interrupted=False):
    yield from trial(folder, 0, [0.5, 0.6, 0.7])
    yield from trial(folder, 1, [0.4], "FAIL")
    yield SearchEnd(spec(), folder, "all 2 trials are done", interrupted, {"COMPLETE": 1, "FAIL": 1}, 0, 0.7)


def retrained(folder):
    model = folder / "winner"
    model.mkdir(parents=True)
    (model / "report.html").write_text("<p>report</p>")
    (model / "model.keras").write_bytes(b"network")
    return RetrainEnd(spec(), folder, model, FINAL)
