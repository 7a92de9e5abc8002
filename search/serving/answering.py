"""What the page is told of one image: the answer of `search.predict`, and pictures."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xraytune.data.decoding.reading import image_of
from xraytune.errors import FatalError
from xraytune.inference import predict_files
from xraytune.inference.classifier import Classifier
from xraytune.inference.predict_files import Stated

EDGE = 512
"""Pixels of the pictures, as `search.predict --overlays` draws them."""


def answered(model: Classifier, stated: Stated, content: bytes) -> dict[str, Any]:
    """The answer to a file's content, for JSON.

    Args:
        model: that answers.
        stated: for which prevalence and at which threshold.
        content: of a JPEG, PNG, PGM or DICOM file.

    Returns:
        `decision`, `referred`, `positive` (whether the decision is the positive class); `shown`: the class that
        `probability` is of; `probabilities`: pairs of class and probability; `unusual`: in what the image is unlike the
        training images; `compared`: whether that is known; `picture` and `heat`: PNG as data URL, `heat` None where
        there is no heat map; `heat_words`: what it shows, or why there is none.

    Raises:
        xraytune.data.decoding.reading.Unreadable: it is no image that can be decoded to its end.
    """
    card = model.card
    squares = {size: square[None] for size, square in model.decode(content).items()}
    (one,) = predict_files.answers_of(model, [""], squares, stated)
    positive = None if card.positive is None else card.classes[card.positive]
    referred = one.decision not in card.classes
    picture = image_of(content, EDGE, fit=card.fit)
    heat, words = _heat_map(model, squares, str(positive) if referred else one.decision, picture)
    return {
        "decision": one.decision,
        "referred": referred,
        "positive": one.decision == positive,
        "shown": positive or one.decision,
        "probability": one.probability,
        "probabilities": list(zip(card.classes, one.probabilities, strict=True)),
        "unusual": one.unusual,
        "compared": bool(model.outliers and model.outliers.limits),
        "picture": _data_url(picture[..., 0]),
        "heat": None if heat is None else _data_url(heat),
        "heat_words": words,
    }


def warm(model: Classifier, stated: Stated) -> None:
    """Answer an image made here: the first answer builds the networks' programs, which takes seconds."""
    sink = io.BytesIO()
    Image.fromarray(np.tile(np.arange(64, dtype=np.uint8), (64, 1))).save(sink, "PNG")
    answered(model, stated, sink.getvalue())


def _heat_map(
    model: Classifier, squares: dict[int, NDArray[np.uint8]], explained: str, picture: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8] | None, str]:
    """The image with the heat map of a class over it, and what that shows; None and why where the model has none."""
    if model.inexplicable:
        return None, f"No heat map: {model.inexplicable}"
    from xraytune.inference import grad_cam

    try:
        heat = model.heat_maps(squares, np.array([model.card.classes.index(explained)]), EDGE)[0]
    except FatalError as error:  # of a backend without gradients
        return None, f"No heat map: {error}"
    words = grad_cam.caption(heat, explained, model.heat_method)
    return grad_cam.overlay(picture, heat), words


def _data_url(pixels: NDArray[np.uint8]) -> str:
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG")
    return f"data:image/png;base64,{base64.b64encode(sink.getvalue()).decode()}"
