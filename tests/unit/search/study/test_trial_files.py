"""Configuration and outcome of a trial as files: written before what the database says, read with one clear message."""

from __future__ import annotations

import contextlib
import json
import shutil

import pytest

from search.study import study as study_module
from search.study import trial_files
from search.study.view import open_study
from tests.inputs.made_studies import report, result, trials
from xraytune.errors import ArtifactError, FatalError
from xraytune.records import FailureCause

LONGEST = 200
"""Characters of an attribute that a page of the dashboard has room for."""


@pytest.fixture
def searched(make, tmp_path):
    """A study with a complete, a pruned and a failed trial; its trials' folders."""
    study = make()
    first = study.ask().number
    for epoch in (1, 3):
        study.report(first, report(epoch, 0.4 + 0.1 * epoch))
    study.complete(first, result(0.5, metrics={f"val_{i}": 0.5 for i in range(60)}))
    second = study.ask().number
    study.report(second, report(1, 0.3))
    study.pruned(second, None)
    study.failed(study.ask().number, FailureCause.OOM, "out of memory: " + "x" * 3000)
    study.close()
    return tmp_path / "mine" / "trials"


def test_attributes_of_a_trial_are_short_and_its_files_have_the_rest(searched, tmp_path):
    view = open_study("mine", tmp_path)
    for trial in view._study.get_trials():
        assert "result" not in trial.user_attrs
        assert "config" not in trial.user_attrs
        for name, value in trial.user_attrs.items():
            assert len(json.dumps(value)) <= LONGEST, name
    done, pruned, failed = view.trials()
    assert len(done.result.metrics) == 60
    assert dict(done.standing) == dict(done.curve) == {1: 0.5, 3: pytest.approx(0.7)}
    assert (pruned.result, dict(pruned.standing), pruned.ran) == (None, {1: 0.3}, {"seconds": {}})
    assert len(failed.message) == 2000
    assert all(t.config for t in (done, pruned, failed))


DAMAGE = {
    "gone": None,
    "empty": b"",
    "cut off": b'{"family": "lo',
    "no text": b"\xff\xfe\x00",
    "a list": b"[1, 2]",
    "a number": b"7",
    "null": b"null",
    "more": b'{"more": 1}',
    "wrong types": b'{"family": 3, "values": [1], "seed": "x", "result": [], "message": 1}',
}


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("name", [trial_files.CONFIG, trial_files.OUTCOME])
def test_a_file_that_is_missing_or_damaged_is_one_message_that_names_study_and_file(
    make, searched, tmp_path, name, content
):
    path = searched / "0000" / name
    path.unlink() if content is None else path.write_bytes(content)
    for read in (lambda: open_study("mine", tmp_path).trials(), lambda: make(resume=True)):
        with pytest.raises(FatalError) as refused:
            read()
        said = str(refused.value)
        assert "'mine' can't be read" in said
        assert str(path) in said
        assert "\n" not in said
        assert "Restore it" in said


def test_content_of_an_outcome_of_a_wrong_type_is_refused_and_named(searched, tmp_path):
    path = searched / "0000" / trial_files.OUTCOME
    whole = json.loads(path.read_text())
    for name, value in (("value", "0.9"), ("curve", {"1": 2}), ("metrics", {"a": "b"}), ("epochs", 1.5), ("host", 1)):
        path.write_text(json.dumps({**whole, "result": {**whole["result"], name: value}}))
        with pytest.raises(ArtifactError, match=name):
            open_study("mine", tmp_path).trials()
    for name, value in (("standing", [1]), ("standing", {"a": 0.5}), ("standing", {"1": "b"}), ("curve", {"x": 1.0})):
        path.write_text(json.dumps({**whole, name: value}))
        with pytest.raises(ArtifactError, match=r"outcome.json"):
            open_study("mine", tmp_path).trials()


def test_trials_of_a_removed_folder_are_one_message(searched, tmp_path):
    shutil.rmtree(tmp_path / "mine")
    with pytest.raises(ArtifactError, match=r"config.json: is missing"):
        open_study("mine", tmp_path).trials()


class KilledError(BaseException):
    """As a SIGKILL: nothing that follows is done."""


def kill_at(monkeypatch, study, attribute):
    """Kill the process when it is about to write that attribute of a trial."""
    write = study._storage.set_trial_user_attr

    def killed(trial_id, key, value):
        if key == attribute:
            raise KilledError
        write(trial_id, key, value)

    monkeypatch.setattr(study._storage, "set_trial_user_attr", killed, raising=False)


@pytest.mark.parametrize("attribute", ["family", "AUC", "ending"])
def test_after_a_kill_between_a_file_and_its_row_the_trial_is_tried_again_with_what_it_had(
    make, monkeypatch, tmp_path, attribute
):
    study = make()
    config = None
    with monkeypatch.context() as patch:
        kill_at(patch, study, attribute)
        with contextlib.suppress(KilledError):
            config = study.ask().config
            study.report(0, report(1, 0.5))
            study.complete(0, result(0.5, metrics={"val_auc": 0.9}))
            pytest.fail("it was not killed")
    assert trial_files.read_config(tmp_path / "mine", 0)
    study.close()
    again = make(resume=True)
    cut, queued = trials(tmp_path)
    assert (cut.state, cut.interrupted, cut.result, queued.state) == ("FAIL", True, None, "WAITING")
    assert "was killed" in cut.message
    tried = again.ask().config
    assert config in [None, tried]
    again.complete(1, result(0.5))
    assert dict(again.tally.counts) == {"COMPLETE": 1}


def test_the_state_of_a_trial_is_told_only_when_its_files_are_there(make, monkeypatch, tmp_path):
    study, seen = make(), []
    tell = study._study.tell

    def told(number, *arguments, **options):
        outcome, found = trial_files.read_outcome(tmp_path / "mine", number)
        seen.append((found.value if found else None, outcome.message))
        return tell(number, *arguments, **options)

    monkeypatch.setattr(study._study, "tell", told)
    study.complete(study.ask().number, result(0.5))
    study.failed(study.ask().number, FailureCause.NAN, "not a number")
    assert seen == [(0.5, ""), (None, "not a number")]


@pytest.mark.parametrize("call", ["config", "outcome"])
def test_a_file_that_can_t_be_written_stops_the_search_with_one_message_and_loses_nothing(
    make, monkeypatch, tmp_path, call
):
    study = make()
    study.complete(study.ask().number, result(0.4))
    number = study.ask().number if call == "outcome" else 1

    def full(path, plain):
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(trial_files.artifacts, "write_json", full)
        with pytest.raises(FatalError, match=r"can't be written: No space left on device.*--resume"):
            study.complete(number, result(0.5)) if call == "outcome" else study.ask()
    assert dict(study.tally.counts) == {"COMPLETE": 1}
    study.close()
    again = make(resume=True)
    assert [t.state for t in trials(tmp_path)] == ["COMPLETE", "FAIL", "WAITING"]
    assert again.ask().number == 2


def test_a_removed_folder_stops_every_step_of_a_search_and_is_not_made_anew(make, tmp_path):
    study = make()
    number = study.ask().number
    shutil.rmtree(tmp_path / "mine")
    for step in (study.ask, lambda: study.complete(number, result(0.5))):
        with pytest.raises(FatalError, match="was removed"):
            step()
    assert not (tmp_path / "mine").exists()
    assert study_module.TrialState.RUNNING in {t.state for t in study._study.get_trials()}
