"""A final model: its figures, its answers, its heat maps, and its figures on other data."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.api import keywords
from search.api.calls import call
from search.api.keywords import as_path
from search.external.options import EvaluationOptions
from xraytune.errors import ArtifactError, InputError

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

    from search.api.images import Held
    from search.external.saved_model import SavedModel
    from xraytune.inference.classifier import Classifier
    from xraytune.inference.predict_files import Answer, Stated

NOTICE = "Not a medical device. For research only; do not use it for diagnosis."


@dataclass(frozen=True)
class Evaluation:
    """A saved model on one labelled data set; the same is in `folder`."""

    figures: Mapping[str, Any]
    """All that `metrics.json` holds."""
    folder: Path
    """Where `report.html`, `metrics.json` and `predictions.csv` are."""

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.folder / "report.html"

    @property
    def verdict(self) -> str:
        """Whether the model is usable there."""
        return str(self.figures["verdict"])

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why, a sentence each."""
        return tuple(self.figures["reasons"])

    @property
    def metrics(self) -> pd.DataFrame:
        """`figure, value, low, high, baseline`: with the ends of 95 % intervals, beside the trivial answer."""
        from search.api import tables

        return tables.metrics(self.figures["test"])

    def __repr__(self) -> str:
        """One line."""
        return f"<Evaluation on {self.figures['data']}: {self.verdict}; {self.report}>"

    def _repr_html_(self) -> str:
        """Verdict and figures, for a notebook."""
        with call():
            from search.api import tables

            lines = [f"{self.verdict}.", *self.reasons, f"Report: {self.report}", NOTICE]
            title = f"Evaluation on {self.figures['data']}"
            return tables.html(title, lines, self.metrics, demonstration=bool(self.figures["demonstration"]))


class Final:
    """A final model as `xraytune retrain` saved it.

    Args:
        path: its folder, or an `.onnx` or `.keras` file in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def folder(self) -> Path:
        """Where its files are, such as `results/mine/winner`."""
        return self.path if self.path.is_dir() else self.path.parent

    @property
    def report(self) -> Path:
        """The HTML report of its retraining."""
        return self.folder / "report.html"

    @cached_property
    def _saved(self) -> SavedModel:
        """The model, read when it is first needed."""
        with call():
            from search.external import saved_model

            return saved_model.load(self.path)

    @property
    def model(self) -> Classifier:
        """The classifier: takes and returns NumPy arrays.

        Raises:
            ArtifactError: a file is missing or was changed.
        """
        return self._saved.classifier

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, in the order of its probabilities."""
        return self._saved.classes

    @property
    def figures(self) -> Mapping[str, Any]:
        """All that `metrics.json` holds.

        Raises:
            ArtifactError: it is missing.
        """
        if self._saved.figures is None:
            raise ArtifactError(f"{self.folder} has no metrics.json: the metrics of its retraining are not known.")
        return self._saved.figures

    @property
    def metrics(self) -> pd.DataFrame:
        """`figure, value, low, high, baseline` on the held-out test set, with the ends of 95 % intervals.

        Raises:
            ArtifactError: the figures of its retraining are missing.
        """
        from search.api import tables

        return tables.metrics(self.figures["test"])

    def predict(
        self, images: Any, *, prevalence: float | None = None, threshold: float | None = None, progress: bool = True
    ) -> pd.DataFrame:
        """Classify images.

        Args:
            images: one or several: paths, folders, arrays `(h, w)`, `(h, w, 1 or 3)` or `(n, …)` of values 0–255, PIL
                images, pydicom data sets, bytes of image files.
            prevalence: state probabilities for this prevalence; decisions do not change [default: the model's].
            threshold: predict the positive class at this probability or above [default: the model's].
            progress: show the progress in one line.

        Returns:
            One row per image: `path` (`image 0` … for images in memory), `probability` (of the positive class; without
            one, of the decided class), `decision`, with more than two classes one `probability_CLASS` each, and
            `unusual`: how it is unlike the training images. A file that can't be read has no probability and no
            decision; `unusual` gives the reason, and a warning counts these files.

        Raises:
            InputError: a path does not exist, something is no image, or prevalence or threshold can't be used.
        """
        model = self.model
        with call():
            from search.api import display
            from search.api.images import listed
            from xraytune.inference.predict_files import Stated

            stated = Stated(prevalence, threshold)
            stated.check(model)
            wanted = listed(images)
            rows: list[tuple[Answer | None, str, str]] = []
            with display.line(lambda: f"classifying {len(rows)}/{len(wanted)}", wanted=progress):
                rows.extend(_answers(model, wanted, stated))
        unread = [name for answer, name, _ in rows if answer is None]
        if unread:
            more = f" and {len(unread) - 1} more" if len(unread) > 1 else ""
            warnings.warn(f"Could not be read, and were not classified: {unread[0]}{more}.", stacklevel=2)
        return _table(rows, self.classes)

    def explain(self, image: Any) -> Image.Image:
        """One image with the heat map of its decision over it, and under it the numbers.

        Args:
            image: one, as `predict` takes it.

        Raises:
            InputError: it is none or several, can't be read, or the model was exported to ONNX, which has no gradients.
        """
        model = self.model
        with call():
            from search.api import images as given
            from xraytune.data.decoding.reading import Unreadable, read_image
            from xraytune.inference import grad_cam
            from xraytune.inference.predict_files import answers_of, overlays_of

            if model.inexplicable:
                raise InputError(f"No heat map: {model.inexplicable}")
            wanted = given.listed(image)
            if len(wanted) != 1:
                raise InputError(f"explain takes one image, not {len(wanted)}.")
            one = wanted[0]
            name = str(one) if isinstance(one, Path) else one.name
            try:
                if isinstance(one, Path):
                    prepared, shown = model.read(one), read_image(one, grad_cam.EDGE, fit=model.card.fit)
                else:
                    prepared = given.squares(model, one, model.sizes, model.card.channels)
                    shown = given.squares(model, one, [grad_cam.EDGE], 1)[grad_cam.EDGE]
            except (Unreadable, ValueError) as error:
                raise InputError(f"{name} can't be read: {error}") from None
            squares = {size: square[None] for size, square in prepared.items()}
            picture: Image.Image = next(overlays_of(model, [shown], squares, answers_of(model, [name], squares)))
            return picture

    @keywords.documented(EvaluationOptions)
    def evaluate(
        self,
        data: str | os.PathLike[str],
        *,
        progress: bool = True,
        **options: Any,
    ) -> Evaluation:
        """Evaluate it on labelled images of another source, and say whether it is usable there.

        Does what `xraytune evaluate` does and writes the same files. Images that the study trained or validated on are
        left out.

        Args:
            data: labelled data set, as `search` takes it.
            progress: show the progress in one line.
            options: those of the command, below.

        Raises:
            InputError: the data can't be used, or their classes don't fit the model's.
        """
        keywords.check_names("evaluate", options, EvaluationOptions)
        how = keywords.made(EvaluationOptions, options)
        saved = self._saved
        with call():
            from search.api.display import bars_line
            from search.cli.progress_bars import bars
            from search.external import evaluation, labelled_data, saved_model

            with bars_line(wanted=progress), bars() as bar:
                ready = labelled_data.load(os.fspath(data), saved, how, bar)
                base, moved = saved_model.place(saved, how.out)
                done = evaluation.run(saved, ready, base, bar)
        if moved:
            warnings.warn(moved, stacklevel=2)
        return Evaluation(done.found, done.folder)

    def __repr__(self) -> str:
        """One line."""
        return f"<Final model {str(self.path)!r}>"

    def _repr_html_(self) -> str:
        """Where it is from and its figures on the test set, for a notebook."""
        saved = self._saved
        with call():
            from search.api import tables

            card = saved.classifier.card
            lines = [f"Classes: {', '.join(card.classes)}", f"Folder: {self.folder}"]
            shown = []
            if saved.figures is not None:
                from search.reporting import final_metrics

                lines += [final_metrics.verdict(saved.figures)[0], final_metrics.limit(saved.figures)]
                lines.append(f"Report: {self.report}")
                shown.append(tables.metrics(saved.figures["test"]))
            title = f"Final model of study {saved.name}"
            return tables.html(title, [*lines, NOTICE], *shown, demonstration=card.demonstration)


def load(path: str | os.PathLike[str]) -> Final:
    """Load a final model.

    Args:
        path: its folder (`results/mine/winner`), its study's folder (`results/mine`), or an `.onnx` file in it, which
            runs in ONNX Runtime without TensorFlow.

    Raises:
        ArtifactError: there is none, or a file is missing or was changed.
    """
    from xraytune.inference.model_card import CARD

    given = as_path(path)
    winner = given / "winner"
    study = (given / "study.json").is_file() and not (given / CARD).is_file()
    if study and not winner.exists():
        raise ArtifactError(f"{given} has no final model yet. Train it: xt.load_study({given.name!r}).retrain()")
    final = Final(winner if study else given)
    final.model  # noqa: B018 - what is wrong with it is said now
    return final


def _answers(
    model: Classifier, images: Sequence[Path | Held], stated: Stated
) -> Iterator[tuple[Answer | None, str, str]]:
    """Answer, name and problem of each image, in their order.

    Raises:
        InputError: an array has another shape, or other values than 0–255.
    """
    import numpy as np

    from search.api.images import squares
    from xraytune.data.decoding.reading import Unreadable
    from xraytune.inference.predict_files import BATCH, answers_of, classify

    begun = 0
    while begun < len(images):
        on_disk = isinstance(images[begun], Path)
        end = next((i for i in range(begun, len(images)) if isinstance(images[i], Path) != on_disk), len(images))
        if on_disk:
            paths = [one for one in images[begun:end] if isinstance(one, Path)]
            yield from ((answer, str(path), problem) for answer, path, problem in classify(model, paths, stated=stated))
            begun = end
            continue
        held = [one for one in images[begun : min(end, begun + BATCH)] if not isinstance(one, Path)]
        prepared: list[Any] = []
        for one in held:
            try:
                prepared.append(squares(model, one, model.sizes, model.card.channels))
            except Unreadable as error:
                prepared.append(str(error))
            except ValueError as error:
                raise InputError(f"{one.name}: {error}.") from None
        good = [one for one in prepared if not isinstance(one, str)]
        stacked = {size: np.stack([one[size] for one in good]) for size in model.sizes} if good else {}
        names = [one.name for one, made in zip(held, prepared, strict=True) if not isinstance(made, str)]
        found = iter(answers_of(model, names, stacked, stated) if good else [])
        for one, made in zip(held, prepared, strict=True):
            yield (None, one.name, made) if isinstance(made, str) else (next(found), one.name, "")
        begun += len(held)


def _table(rows: Sequence[tuple[Answer | None, str, str]], classes: Sequence[str]) -> pd.DataFrame:
    """A row an image."""
    import pandas as pd

    plain = [
        {
            "path": name,
            "probability": answer.probability if answer else math.nan,
            "decision": answer.decision if answer else None,
            **{
                f"probability_{c}": answer.probabilities[i] if answer else math.nan
                for i, c in enumerate(classes if len(classes) > 2 else ())
            },
            "unusual": answer.unusual if answer else f"not read: {problem}",
        }
        for answer, name, problem in rows
    ]
    return pd.DataFrame(plain)
