"""A search and its study."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.api import keywords
from search.api.calls import call, training
from search.api.final import Final
from search.driver.options import SessionOptions, StudyOptions
from search.retraining.options import RetrainingOptions
from search.tracking.callbacks import Callback
from xraytune.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from search.study.view import StudyView, TrialRecord

BEST = 5
"""Trials that a notebook shows of a study."""


class Study:
    """The study of a search: its trials, best first, and methods that lead to a final model.

    Args:
        view: the study, opened.
        storage: URL of its database, None for the one in the results folder.
    """

    def __init__(self, view: StudyView, storage: str | None = None) -> None:
        self._view = view
        self._storage = storage

    @property
    def name(self) -> str:
        """Its name."""
        return self._view.name

    @property
    def folder(self) -> Path:
        """Where its files are, such as `results/mine`."""
        return self._view.folder

    @property
    def trials(self) -> list[TrialRecord]:
        """All trials by number."""
        return self._view.trials()

    @property
    def best(self) -> TrialRecord:
        """The complete trial with the highest objective; its `params` are the hyperparameters.

        Raises:
            StudyError: none is complete.
        """
        return self._view.best()

    def leaderboard(self) -> pd.DataFrame:
        """One row per trial, the best first: trial, family, state, scores, validation metrics, hyperparameters."""
        with call():
            from search.api import tables

            return tables.leaderboard(self._view)

    @keywords.documented(RetrainingOptions, without=("which", "study", "results", "storage"))
    def retrain(
        self,
        which: str = "best",
        *,
        progress: bool = True,
        verbose: bool = False,
        callbacks: Sequence[Callback] = (),
        **options: Any,
    ) -> Final:
        """Cross-validate the best trials, retrain the winner, evaluate it once on the held-out test set.

        Does what `xraytune retrain` does and writes the same folder, `results/<study>/winner`.

        Args:
            which: best, a trial's number, top:K, pareto:N, or a recipe's name.
            progress: show the progress in one line.
            verbose: print what the command prints.
            callbacks: called with the final model.
            options: those of the command, below.

        Raises:
            InputError: an option, the study, the data or the weights can't be used.
            FatalError: no finalist could be trained, or the disk is full.
        """
        keywords.check_names("retrain", options, RetrainingOptions)
        own = {"which": str(which), "study": self.name, "results": self._view.results, "storage": self._storage}
        for name in ("study", "results", "storage"):
            if name in options:
                raise InputError(f"retrain takes {name} from its study. Load another: xt.load_study(…).")
        asked = keywords.made(RetrainingOptions, {**options, **own})
        with training(verbose=verbose):
            from search.api.display import bars_line
            from search.retraining.steps import retrain

            with bars_line(wanted=progress and not verbose):
                retrain(asked, callbacks)
        return Final(self.folder / "winner")

    def __repr__(self) -> str:
        """One line."""
        return f"<Study {self.name!r}: {self._summary()}>"

    def _summary(self) -> str:
        trials = self._view.trials()
        states = Counter(trial.state for trial in trials if trial.counts)
        names = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
        said = [f"{states[state]} {word}" for state, word in names.items() if states[state]]
        if ranked := self._view.ranked():
            best = ranked[0]
            said.append(f"best {self._view.spec.label} {best.value or 0:.3f} (trial {best.number}, {best.family})")
        return ", ".join(said) or "no trial yet"

    def __rich_repr__(self) -> Any:
        """What rich prints."""
        yield "name", self.name
        yield "trials", self._summary()
        yield "data", self._view.spec.data
        yield "folder", str(self.folder)

    def _repr_html_(self) -> str:
        """Data, budget, best trials and history, for a notebook."""
        with call():
            from search.api import tables
            from search.cli import quantities
            from search.reporting import figures

            spec = self._view.spec
            asked = self._view.attributes.get("request", {})
            budget = [f"at most {asked['trials']} trials"] if asked.get("trials") else []
            budget += [f"time budget {quantities.clock(float(asked['time']))}"] if asked.get("time") else []
            table = tables.leaderboard(self._view).head(BEST)
            table = table[[c for c in table.columns if not c.startswith("params.")]].dropna(axis=1, how="all")
            chart = figures.history_chart([t for t in self._view.trials() if t.counts], spec.label)
            lines = [
                f"Data: {spec.data} ({', '.join(spec.classes)})",
                f"Budget: {', '.join(budget) or 'none'}",
                f"Trials: {self._summary()}",
                f"Folder: {self.folder}",
            ]
            title = f"Study {self.name}"
            return tables.html(title, lines, table, chart=chart, demonstration=spec.demonstration)


@keywords.documented(StudyOptions, SessionOptions, without=("data", "time", "verbose"))
def search(
    data: str | os.PathLike[str] | None = None,
    time: float | str | None = None,
    name: str | None = None,
    *,
    progress: bool = True,
    verbose: bool = False,
    callbacks: Sequence[Callback] = (),
    **options: Any,
) -> Study:
    """Search for the best network for a folder of labelled chest X-rays.

    Does what `xraytune search` does and writes the same folder, `results/<name>`. Without `data` it searches on
    synthetic images. Ctrl-C, or a notebook's stop button, ends it: finished trials are kept, and
    `xt.search(name=…, resume=True)` continues it.

    Args:
        data: folder of labelled images, archive, .npz, .csv manifest, or demo.
        time: time budget of the study, seconds or a text like "30m" [default: 30m; 4m without data; none with trials].
        name: name of the study, the option `study` [default: the data and the date].
        progress: show the progress in one line.
        verbose: print what the command prints with --verbose.
        callbacks: called for each trial, each epoch and the end.
        options: those of the command, below.

    Raises:
        InputError: an option, the data or the study can't be used.
        FatalError: no trial finished, too many failed, or Ray, the database or the disk failed.
        KeyboardInterrupt: it was interrupted; the study is intact.
    """
    keywords.check_names("search", options, StudyOptions, SessionOptions)
    if name is not None and options.get("study") not in {None, name}:
        raise InputError(f"name={name!r} and study={options['study']!r} are two names of one study. Give one.")
    named = {"data": data, "time": time, "study": name}
    values = {**options, **{key: value for key, value in named.items() if value is not None}}
    asked = keywords.made(StudyOptions, values, given=frozenset(values))
    session = keywords.made(SessionOptions, {**values, "verbose": verbose}, own_process=False)
    with training(verbose=verbose):
        from search.api.display import SearchLine
        from search.driver.session import search as run

        shown = None if verbose else SearchLine(wanted=progress, begun=session.begun)
        view = run(asked, session, callbacks, shown)
    return Study(view, session.storage)


def load_study(
    name: str | None = None, results: str | os.PathLike[str] = "results", storage: str | None = None
) -> Study:
    """Load a study.

    Args:
        name: its name; None for the one searched last.
        results: folder of all studies.
        storage: URL of the studies' database; None for the one in the results folder.

    Raises:
        StudyError: there is no such study.
    """
    with call():
        from search.study.view import open_study

        return Study(open_study(name, keywords.as_path(results), storage), storage)
