"""Notes and pictures as optuna-dashboard and Optuna read them, through kills and resumes."""

from __future__ import annotations

import json
import uuid
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
from optuna.artifacts import get_all_artifact_meta

from search.study import pages
from search.study.database import open_database
from search.study.pages import TrialPage, picture_store, write_note, write_picture
from tests.inputs.made_studies import report, result
from xraytune.errors import FatalError
from xraytune.records import FailureCause


class Plain:
    """Pages that say what they were given."""

    def of_study(self, spec, state):
        best = "" if state.best is None else f"{state.best.number} {state.best.values[0]}"
        return f"{spec.name}|{dict(state.counts)}|{best}|{state.stopped}"

    def of_trial(self, spec, trial, predictions):
        pictures = {"roc.svg": f"<svg>{trial.number}</svg>"} if predictions else {}
        return TrialPage(f"{trial.state}|{trial.family}|{trial.cause}|{trial.message}|{dict(trial.curve)}", pictures)


def picture(results, number):
    """What the store has of a picture."""
    with picture_store(results).open_reader(number) as stream:
        return stream.read()


def notes(study, number=None):
    """A note, read as optuna-dashboard reads it."""
    from optuna_dashboard import get_note

    trial = None if number is None else study._study.get_trials()[number]
    if trial is None:
        return get_note(study._study)
    asked = SimpleNamespace(storage=study._storage, study=study._study, _trial_id=trial._trial_id)
    return get_note(asked)


@pytest.fixture
def shown(make, monkeypatch):
    """Studies with pages."""
    from search.study import create

    class Described(create.Study):
        def __init__(self, *given):
            super().__init__(*given[:6], Plain())

    monkeypatch.setattr(create, "Study", Described)
    return make


@pytest.mark.parametrize("length", [0, 1, pages.PIECE, pages.PIECE + 1, 3 * pages.PIECE])
def test_a_note_of_any_length_is_read_as_it_was_written_after_a_longer_one_too(tmp_path, length):
    from optuna_dashboard import get_note

    study = optuna.create_study(storage=open_database(tmp_path))
    for body in ("x" * 5000, "é" * length, "last"):
        write_note(study._storage, study._study_id, body)
        assert get_note(study) == body


def test_a_trial_that_ended_has_a_note_and_its_pictures(shown, tmp_path):
    study = shown()
    numbers = [study.ask().number for _ in range(3)]
    study.report(numbers[0], report(1, 0.5))
    study.keep_predictions(numbers[0], labels=np.arange(2))
    study.complete(numbers[0], result(0.5))
    study.failed(numbers[1], FailureCause.OOM, "too large")
    study.failed(numbers[2], FailureCause.INTERRUPTED, "stopped")
    family = study.view().trial(0).family
    assert notes(study, 0) == f"COMPLETE|{family}|||{{1: 0.5}}"
    assert "|oom|too large|" in notes(study, 1)
    assert "|interrupted|" in notes(study, 2)
    trial, *others = study._study.get_trials()
    [meta] = get_all_artifact_meta(study_or_trial=trial, storage=study._storage)
    assert (meta.filename, meta.mimetype) == ("roc.svg", "image/svg+xml")
    assert picture(tmp_path, meta.artifact_id) == b"<svg>0</svg>"
    assert uuid.UUID(meta.artifact_id)  # optuna-dashboard serves nothing else
    assert not any(get_all_artifact_meta(study_or_trial=t, storage=study._storage) for t in others)


def test_a_note_of_the_study_follows_the_best_trial_and_the_end_of_the_search(shown):
    study = shown()
    study.describe()
    assert notes(study) == "mine|{}||"
    study.complete(study.ask().number, result(0.5))
    assert notes(study) == "mine|{'COMPLETE': 1}|0 0.5|"
    study.complete(study.ask().number, result(0.4))
    study.describe("time budget reached")
    assert notes(study) == "mine|{'COMPLETE': 2}|0 0.5|time budget reached"
    study.close()
    again = shown(resume=True)
    again.describe()
    assert notes(again) == "mine|{'COMPLETE': 2}|0 0.5|"


def test_a_trial_that_a_killed_search_left_running_is_noted_as_interrupted(shown):
    study = shown()
    family = study.ask().config.family
    study.close()
    again = shown(resume=True)
    assert notes(again, 0).startswith(f"FAIL|{family}|interrupted|")


def test_a_picture_told_again_after_a_kill_is_there_once(tmp_path):
    study = optuna.create_study(storage=open_database(tmp_path))
    trial = study.ask()
    for drawing in ("<svg/>", "<svg>later</svg>"):
        write_picture(study._storage, tmp_path / "mine", trial._trial_id, "roc.svg", drawing)
    [meta] = get_all_artifact_meta(study_or_trial=trial, storage=study._storage)
    assert picture(tmp_path, meta.artifact_id) == b"<svg>later</svg>"
    assert len(list((tmp_path / pages.FOLDER).iterdir())) == 1


def test_pictures_of_two_studies_of_one_folder_stay_apart(tmp_path):
    for number, name in enumerate(("one", "two")):
        study = optuna.create_study(storage=open_database(tmp_path), study_name=name)
        write_picture(study._storage, tmp_path / name, study.ask()._trial_id, "roc.svg", f"<svg>{number}</svg>")
    assert len(list((tmp_path / pages.FOLDER).iterdir())) == 2


def test_a_picture_that_can_t_be_written_is_one_message(tmp_path):
    study = optuna.create_study(storage=open_database(tmp_path))
    (tmp_path / pages.FOLDER).write_text("in the way")
    with pytest.raises(FatalError, match=r"can't be written: .*--resume"):
        write_picture(study._storage, tmp_path / "mine", study.ask()._trial_id, "roc.svg", "<svg/>")


def test_the_rows_of_notes_and_pictures_are_short_enough_for_every_database(shown):
    study = shown()
    study.keep_predictions(study.ask().number, labels=np.arange(2))
    study.complete(0, result(0.5))
    rows = study._storage.get_study_system_attrs(study._study._study_id)
    own = study._storage.get_trial_system_attrs(study._study.get_trials()[0]._trial_id)
    assert all(len(json.dumps(value)) < 3000 for value in (*rows.values(), *own.values()))


@pytest.mark.parametrize("last", [0.7, 0.3])
def test_a_note_of_the_study_follows_the_trial_that_is_best_for_its_site(shown, last):
    study = shown(sites=("easy", "hard"))
    of = {"easy": [], "hard": []}
    while min(len(numbers) for numbers in of.values()) < 2:
        asked = study.ask()
        of[asked.config.site].append(asked.number)
    for number, value in zip([*of["easy"][:2], of["hard"][0]], [0.9, 0.8, 0.6], strict=True):
        study.complete(number, result(value))
    assert f"|{of['easy'][0]} 0.9|" in notes(study)
    assert study.tally.since_best == 2
    study.complete(of["hard"][1], result(last))  # by 0.3 the other trial of the hard site becomes the best
    best = (of["hard"][1], 0.7) if last == 0.7 else (of["hard"][0], 0.6)
    assert f"|{best[0]} {best[1]}|" in notes(study)
    assert study.tally.since_best == 0
    found = study.tally.best
    study.close()
    again = shown(resume=True, sites=("easy", "hard"))
    assert (again.tally.best.number, again.tally.best.compared) == (found.number, found.compared)
