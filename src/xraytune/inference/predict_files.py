"""Classification of image files, batch by batch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xraytune.errors import InputError

if TYPE_CHECKING:
    from xraytune.data.decoding.reading import Look, Reading
    from xraytune.data.property_table import Gathered

BATCH = 32


AHEAD = 4
"""Batches decoded before the network asks for them."""


@dataclass(frozen=True)
class Answer:
    """What the model says of one image."""

    path: str
    probabilities: tuple[float, ...]
    """Calibrated, one a class."""
    probability: float
    """Of the positive class; without one, of the decided class."""
    decision: str
    """The class at the operating threshold, or `refer`."""
    unusual: str
    """In what the image is unlike the training images; empty where it is like them."""


@dataclass(frozen=True)
class Stated:
    """What was asked of probabilities and decisions beside what the model says by itself."""

    prevalence: float | None = None
    """The share of the positive class that probabilities are stated for."""
    threshold: float | None = None
    """At which probability of these an image is classified as positive; no image is then referred."""
    refer: bool = True
    """Whether the model's referral counts, where it has one."""

    def check(self, model: Any) -> str:
        """What it does to the answers of a model, in one sentence; empty where nothing is restated.

        Raises:
            InputError: the model can't do it.
        """
        at = self.threshold
        if at is not None and (model.card.positive is None or not 0 < at < 1):
            raise InputError(f"--threshold {at:g}: a threshold lies between 0 and 1 and needs a positive class.")
        if self.prevalence is not None:
            model.restated_threshold(self.prevalence)  # refuses what can't be had
            return (
                f"Probabilities are stated for a prevalence of {100 * self.prevalence:g} % (the model's own: "
                f"{100 * model.prevalence:.3g} %)."
                + ("" if at else " The threshold is adjusted too: no decision changes.")
            )
        return ""

    def at(self, model: Any) -> tuple[float, str]:
        """The threshold among the probabilities as they are stated, and how it was chosen."""
        if self.threshold is not None:
            return self.threshold, "asked for"
        own, policy = model.card.threshold, model.card.policy
        return (own if self.prevalence is None else model.restated_threshold(self.prevalence)), policy

    def referral(self, model: Any) -> Any:
        """The model's `Referral` as it counts here, its thresholds among the probabilities as they are stated."""
        if self.threshold is not None or not self.refer:
            return None
        return model.referral if self.prevalence is None else model.restated_referral(self.prevalence)

    def rule(self, model: Any) -> str:
        """How images are decided, and for which prevalence probabilities are stated, in words."""
        positive = None if model.card.positive is None else model.card.classes[model.card.positive]
        how = "The most probable class is predicted."
        if (pair := self.referral(model)) and pair.low < pair.high:
            how = (
                f"{positive} is predicted when its probability is at least {pair.high:.3f}; an image from "
                f"{pair.low:.3f} to below that is referred to a radiologist."
            )
        elif positive is not None:
            at = (pair.low, "no image is referred") if pair else self.at(model)
            how = "{} is predicted when its probability is at least {:.3f} ({}).".format(positive, *at)
        if prevalence := self.prevalence or model.prevalence:
            how += f" Probabilities are stated for a prevalence of {100 * prevalence:.3g} %."
        return how

    def answers(self, model: Any, squares: Any) -> tuple[Any, Any]:
        """Probabilities `(n, k)` as they are stated, and class indices `(n,)` of prepared images, -1 where referred."""
        from xraytune.evaluation import metrics

        own = model.predict_squares(squares)
        shown = own if self.prevalence is None else model.restated(own, self.prevalence)
        if self.threshold is None:  # decided on the model's own probabilities, so that no rounding changes a decision
            return shown, model.answer(own) if self.refer else model.decide(own)
        return shown, metrics.decide(shown, model.card.positive, self.threshold)


PLAIN = Stated()
"""As the model says by itself."""


def classify(
    model: Any,
    paths: Sequence[Path],
    *,
    overlays: Path | None = None,
    stated: Stated = PLAIN,
    gathered: Gathered | None = None,
) -> Iterator[tuple[Answer | None, Path, str]]:
    """Answers in the order of the paths; None and why for files that can't be read.

    Images are decoded in threads ahead of the network, in batches.

    Args:
        model: an `xraytune.inference.classifier.Classifier`.
        paths: image files.
        overlays: where Grad-CAM overlays are written; None for none.
        stated: for which prevalence and at which threshold.
        gathered: gets the properties of the images that can be read, in their order.
    """
    import numpy as np

    from xraytune.data.decoding.reading import Unreadable
    from xraytune.hardware import cores

    def read(path: Path) -> Any:
        try:
            return (model.read(path), None) if gathered is None else look(model, path)
        except Unreadable as error:
            return str(error)

    pictures = dict(zip(paths, picture_names(paths), strict=True))
    batches = [list(paths[i : i + BATCH]) for i in range(0, len(paths), BATCH)]
    with ThreadPoolExecutor(cores()) as pool:
        waiting: list[list[Future[Any]]] = []
        ahead = iter(batches)
        for batch in batches:
            while len(waiting) <= AHEAD and (following := next(ahead, None)) is not None:
                waiting.append([pool.submit(read, path) for path in following])
            read_now = [future.result() for future in waiting.pop(0)]
            good = [r for r in read_now if not isinstance(r, str)]
            answers: Iterator[Answer] = iter(())
            if good:
                squares = {size: np.stack([g[size] for g, _ in good]) for size in model.sizes}
                if gathered is not None:
                    gathered.add([look for _, look in good])
                names = [path for path, r in zip(batch, read_now, strict=True) if not isinstance(r, str)]
                found = answers_of(model, list(map(str, names)), squares, stated)
                if overlays:
                    _write_overlays(model, names, squares, found, [overlays / pictures[path] for path in names])
                answers = iter(found)
            for path, result in zip(batch, read_now, strict=True):
                yield (None, path, result) if isinstance(result, str) else (next(answers), path, "")


def look(model: Any, path: Path) -> tuple[dict[int, Any], tuple[Reading, Look]]:
    """One file as a model takes it, uint8 `(s, s, c)` by edge s, and as its properties are measured.

    It is decoded once, and again only for networks that take colours or larger images than the properties need.

    Args:
        model: an `xraytune.inference.classifier.Classifier`.
        path: of the file.

    Raises:
        xraytune.data.decoding.reading.Unreadable: it is no image that can be decoded to its end.
    """
    from xraytune.data.decoding import reading

    content = reading.read_content(path)
    with reading.silenced():
        found, seen = reading.measured(content)
    if seen is None:
        raise reading.Unreadable(found.problem)
    fit, channels = model.card.fit, model.card.channels
    squares = {}
    for size in model.sizes:
        if channels == 1 and reading.bucket(size) == reading.bucket(1):
            squares[size] = reading.square(seen.image, size, fit)
        else:
            squares[size] = reading.image_of(content, size, fit=fit, channels=channels)
    return squares, (found, seen)


def answers_of(model: Any, names: Sequence[str], squares: Any, stated: Stated = PLAIN) -> list[Answer]:
    """What the model says of prepared images.

    Args:
        model: an `xraytune.inference.classifier.Classifier`.
        names: of the images.
        squares: arrays uint8 `(n, s, s, c)` by edge s, as `Classifier.prepare` makes them of one.
        stated: for which prevalence and at which threshold.
    """
    from xraytune.evaluation.referral.pair import REFER, WORD

    card = model.card
    probabilities, decided = stated.answers(model, squares)
    unusual = model.unusual(squares)
    out = []
    for name, p, answer, odd in zip(names, probabilities, decided, unusual, strict=True):
        shown = card.positive if card.positive is not None else int(answer)
        word = WORD if answer == REFER else card.classes[int(answer)]
        out.append(Answer(name, tuple(float(v) for v in p), float(p[shown]), word, odd))
    return out


def picture_names(paths: Sequence[Path]) -> list[str]:
    """A file name for each image's overlay, no two alike even where capitals don't count: `folder-image.png`.

    Images of equal names get their suffix, and then a number, into it.
    """
    taken: set[str] = set()
    out = []
    for path in paths:
        folders = [part for part in path.parts[-3:-1] if part.strip("/.\\")]
        stem = "-".join([*folders, path.stem])
        tries = itertools.chain(
            (stem, "-".join([*folders, path.name])), (f"{stem}-{number}" for number in itertools.count(2))
        )
        name = next(name for name in tries if name.lower() not in taken)
        taken.add(name.lower())
        out.append(f"{name}.png")
    return out


def overlays_of(model: Any, images: Sequence[Any], squares: Any, answers: Sequence[Answer]) -> Iterator[Any]:
    """Each image with the heat map of its decision over it, and under it what the numbers are of, as a PIL image.

    Where an image is referred, the heat map is of the positive class.

    Args:
        model: an `xraytune.inference.classifier.Classifier` that is `explainable`.
        images: as they are shown, uint8 `(grad_cam.EDGE, grad_cam.EDGE, 1)`.
        squares: of the same images, as `answers_of` takes them.
        answers: what `answers_of` said of them.

    Raises:
        InputError: the model runs in ONNX Runtime, which has no gradients.
    """
    import numpy as np
    from PIL import Image

    from xraytune.inference import grad_cam

    card = model.card
    explained = [  # where an image is referred, the positive class
        a.decision if a.decision in card.classes else card.classes[card.positive] for a in answers
    ]
    decided = np.array([card.classes.index(name) for name in explained])
    heats = model.heat_maps(squares, decided, grad_cam.EDGE)
    for image, heat, answer, target in zip(images, heats, answers, explained, strict=True):
        shown = answer.decision if card.positive is None else card.classes[card.positive]
        lines = [
            f"probability of {shown} {answer.probability:.3f}, decided {answer.decision}",
            grad_cam.caption(heat, target, model.heat_method),
        ]
        yield Image.fromarray(grad_cam.captioned(grad_cam.overlay(image, heat), lines))


def _write_overlays(
    model: Any, paths: Sequence[Path], squares: Any, answers: Sequence[Answer], targets: Sequence[Path]
) -> None:
    """The overlay of each image as a file."""
    from xraytune import artifacts
    from xraytune.data.decoding.reading import read_image
    from xraytune.inference import grad_cam

    images = [read_image(path, grad_cam.EDGE, fit=model.card.fit) for path in paths]
    for picture, target in zip(overlays_of(model, images, squares, answers), targets, strict=True):
        with artifacts.atomic_write(target) as temporary:
            picture.save(temporary, "PNG")
