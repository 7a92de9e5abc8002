"""What a space must know before it can say what may vary: the classes, the weights there are, what was narrowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import keras_tuner

from xraytune.models.file_backbones.backbone import FileBackbone
from xraytune.records import Value

T = TypeVar("T", int, float, str, bool)


@dataclass(frozen=True)
class SpaceContext:
    """Given to `spaces.get`, on the driver and in every worker alike."""

    classes: int = 2
    """How many classes."""

    channels: int = 1
    """Of the images: 1 or 3."""

    counts: tuple[int, ...] = ()
    """Training images a class."""

    families: tuple[str, ...] = ()
    """The families that may take part; none named is all."""

    weights: Mapping[str, str] = field(default_factory=dict)
    """Pretrained backbone → the file its weights are in."""

    files: Mapping[str, FileBackbone] = field(default_factory=dict)
    """The user's own backbones (`--backbone`) by name, each a family."""

    narrowed: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    """What is left of a parameter's choices, by name."""

    images: int = 0
    """Training images."""

    def choices(self, name: str, offered: Sequence[T]) -> list[T]:
        """Those of `offered` that narrowing left; all of them where it left none."""
        if name not in self.narrowed:
            return list(offered)
        allowed = self.narrowed[name]
        return [value for value in offered if value in allowed] or list(offered)

    def choice(
        self, hp: keras_tuner.HyperParameters, name: str, offered: Sequence[T], default: T | None = None
    ) -> None:
        """Declare a choice, narrowed."""
        left = self.choices(name, offered)
        hp.Choice(name, left, default=default if default in left else left[0])
