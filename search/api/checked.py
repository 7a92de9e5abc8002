"""A data set, checked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search.api import keywords
from search.api.calls import call
from search.cli.shared import Reading

if TYPE_CHECKING:
    import pandas as pd

    from xraytune.data import Dataset, Examination, Problem
    from xraytune.evaluation.shortcut_audit import Audit


@dataclass(frozen=True)
class Verification:
    """What `xraytune verify` finds in a data set."""

    found: Examination
    audit: Audit | None
    """Of the training and validation images for shortcuts; None where the data can't be used."""

    @property
    def usable(self) -> bool:
        """Whether a search can use the data."""
        return self.found.dataset is not None

    @property
    def dataset(self) -> Dataset | None:
        """The data set, None where it can't be used."""
        return self.found.dataset

    @property
    def errors(self) -> tuple[Problem, ...]:
        """What keeps the data from being used."""
        return self.found.errors

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What one should know."""
        return self.found.warnings

    @property
    def problems(self) -> pd.DataFrame:
        """`severity, kind, where, what, files`: errors first."""
        import pandas as pd

        rows = [
            ("warning" if p.warning else "error", p.kind, p.where, p.what, ", ".join(p.files))
            for p in (*self.errors, *self.warnings)
        ]
        return pd.DataFrame(rows, columns=["severity", "kind", "where", "what", "files"])

    @property
    def images(self) -> pd.DataFrame:
        """`class, train, validation, test`: numbers of images; empty where the data can't be used."""
        import pandas as pd

        dataset = self.found.dataset
        counts = {} if dataset is None else {split: dataset.counts(split) for split in ("train", "val", "test")}
        classes = () if dataset is None else dataset.classes
        rows = [(name, *(counts[split][name] for split in counts)) for name in classes]
        return pd.DataFrame(rows, columns=["class", "train", "validation", "test"])

    @property
    def shortcuts(self) -> str:
        """What of an image alone separates the classes, in words; empty where the data can't be used."""
        return self.audit.summary if self.audit else ""

    def _verdict(self) -> str:
        counts = [(len(self.errors), "error"), (len(self.warnings), "warning")]
        said = ", ".join(f"{n} {what}{'s' if n != 1 else ''}" for n, what in counts if n)
        return f"The data {'can' if self.usable else 'can not'} be used" + (f": {said}" if said else "")

    def __repr__(self) -> str:
        """One line."""
        return f"<Verification of {self.found.name}: {self._verdict()}>"

    def _repr_html_(self) -> str:
        """Verdict, problems, counts and shortcuts, for a notebook."""
        with call():
            from search.api import tables

            dataset = self.found.dataset
            lines = [f"{self._verdict()}.", *self.found.notes, *([self.shortcuts] if self.shortcuts else [])]
            shown = [self.problems] * bool(self.found.problems) + [self.images] * self.usable
            mark = dataset is not None and dataset.demonstration
            return tables.html(f"Data {self.found.name}", lines, *shown, demonstration=mark)


@keywords.documented(Reading)
def verify(
    data: str | os.PathLike[str],
    *,
    compare_test: bool = False,
    rehash: bool = False,
    progress: bool = True,
    **options: Any,
) -> Verification:
    """Check a data set completely, list every problem, and audit it for shortcuts; nothing is changed.

    Args:
        data: as `search` takes it.
        compare_test: also compare training and test images, without labels.
        rehash: read every file again, also those that are unchanged.
        progress: show the progress in one line.
        options: those of the command, below.

    Raises:
        SourceError: the data are damaged or not in a known layout.
        InputError: there are no such data, or an option can't be used.
    """
    keywords.check_names("verify", options, Reading)
    reading = keywords.made(Reading, options)
    with call():
        from search.api.display import bars_line
        from search.cli.progress_bars import bars
        from xraytune.data import examine
        from xraytune.evaluation import shortcut_audit

        with bars_line(wanted=progress), bars() as bar:
            found = examine(os.fspath(data), **vars(reading), rehash=rehash, progress=bar)
        audit = shortcut_audit.audit(found.dataset, compare_test=compare_test) if found.dataset else None
    return Verification(found, audit)
