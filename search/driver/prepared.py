"""What preparation hands to a session."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xraytune.records import StudySpec, Value

if TYPE_CHECKING:
    from search.tuner.job import Job
    from xraytune.data import Progress


@dataclass(frozen=True)
class Prepared:
    """What `prepare` made of the options."""

    spec: StudySpec
    declaration: Any
    families: tuple[str, ...]
    recipes: tuple[tuple[str, Mapping[str, Value]], ...]
    """Published configurations: name and values."""
    starts: tuple[tuple[str, Mapping[str, Value]], ...]
    """Points with the countermeasures that the shortcut audit asks for: origin and values."""
    make_job: Callable[[Progress], Job]
    """Decodes the images and gives what the workers need; called after the study is made."""
    notes: tuple[str, ...]
    """Everything that was found out and decided, one sentence each."""
    opening: tuple[str, ...] = ()
    """The few of them that everybody should read, in short."""
    caches: str = ""
    """One line on the decoded images and features that trials may write, and the free disk space."""
    once: tuple[str, ...] = ()
    """Families whose one configuration is tried before all others and never proposed again."""

    @property
    def most_trials(self) -> int | None:
        """Trials after which nothing is left to try; None where the sampler goes on."""
        held = self.spec.fixed.get("family")
        left = [family for family in self.families if held in {None, family}]
        return 1 if left and set(left) <= set(self.once) else None
