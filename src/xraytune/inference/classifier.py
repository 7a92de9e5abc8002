"""A saved model that needs nothing re-implemented: networks, preprocessing, calibration and threshold in one folder.

    from xraytune.inference.classifier import load_model
    model = load_model("results/mine/winner")
    probabilities = model.predict(images)  # uint8 (n, height, width) of any size in, calibrated float32 (n, k) out

A folder holds `model.json` and one `.keras` (and, exported, one `.onnx`) file a network. Before anything is loaded its
sha256 is compared with the one in `model.json`, which carries its own; Keras's safe mode stays on and nothing is
unpickled. Written by `search.retrain`, used by `search.predict`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xraytune import artifacts
from xraytune.data.decoding import reading
from xraytune.data.decoding.reading import read_image, square
from xraytune.errors import FOREIGN, ArtifactError, InputError
from xraytune.evaluation import metrics, prevalences
from xraytune.evaluation.calibration import Calibration
from xraytune.evaluation.ensemble_selection import average
from xraytune.evaluation.referral.pair import Referral
from xraytune.inference import test_time_augmentation
from xraytune.inference.model_card import CARD, Member, ModelCard, folder_of, read_card
from xraytune.inference.networks import KerasNetwork, Network, OnnxNetwork, load_network, onnx_session
from xraytune.inference.outliers import OutlierDetector


def _pixels(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Pixel values as uint8.

    Values that only the caller can place are refused: clipped or taken as they are, 16-bit images would be white and
    images in 0–1 black, and the answer would look like any other.

    Raises:
        ValueError: neither uint8 nor floats in 0–255.
    """
    if image.dtype == np.uint8:
        return np.asarray(image, dtype=np.uint8)
    asked = "pixel values must be uint8, or float in 0–255"
    if image.dtype.kind != "f":
        raise ValueError(f"{asked}, not {image.dtype}: scale the image to 8 bit first")
    if not image.size:
        return np.asarray(image, dtype=np.uint8)
    low, high = float(image.min()), float(image.max())
    if not (low >= -0.5 and high <= 255.5):  # written so that NaN is refused too
        raise ValueError(f"{asked}, not {image.dtype} from {low:g} to {high:g}")
    if 0 < high <= 1:
        raise ValueError(f"{asked}, not {image.dtype} in 0–1 (from {low:g} to {high:g}): multiply by 255")
    return np.asarray(np.clip(np.rint(image), 0, 255), dtype=np.uint8)


class Classifier:
    """A loaded model: numpy in, numpy out.

    Args:
        card: what it is.
        networks: by member.
    """

    def __init__(self, card: ModelCard, networks: Sequence[Network]) -> None:
        self.card = card
        self.networks = tuple(networks)
        self.members = tuple(Member.from_json(m) for m in card.members)
        self.calibration = Calibration.from_json(card.calibration)
        self.referral = Referral.from_json(card.referral) if card.referral else None
        self.outliers = OutlierDetector.from_json(card.outliers) if card.outliers else None
        for name in ("bias", "prevalence"):
            if len(getattr(self.calibration, name)) not in {0, len(card.classes)}:
                raise ValueError(f"its calibration has a {name} of other classes")

    def restated(self, probabilities: NDArray[Any], share: float) -> NDArray[np.float32]:
        """Probabilities stated for another share of the positive class, by Bayes' rule.

        `decide` takes the probabilities as the model gives them: another prevalence changes no decision.

        Args:
            probabilities: as `predict` gives them, `(n, k)`.
            share: of the positive class, between 0 and 1.

        Raises:
            InputError: the share is not between 0 and 1, the model has no positive class, or it was saved without the
                prevalence of its probabilities.
        """
        positive = self._checked(share)
        before = self.calibration.prevalence
        after = prevalences.of_positive(before, positive, share)
        return prevalences.restated(probabilities, before, after).astype(np.float32)

    def restated_threshold(self, share: float) -> float:
        """The operating threshold among probabilities that are restated for this share of the positive class.

        Raises:
            InputError: as `restated`.
        """
        positive = self._checked(share)
        return prevalences.moved(self.card.threshold, self.calibration.prevalence[positive], share)

    def _checked(self, share: float) -> int:
        """The positive class, where probabilities can be restated for this share of it."""
        if self.card.positive is None:
            raise InputError("A prevalence needs a positive class, and this model has none.")
        if not self.calibration.prevalence:
            raise InputError(
                "This model does not say for which prevalence its probabilities are stated: call search.retrain again."
            )
        if not 0 < share < 1:
            raise InputError(f"A prevalence is between 0 and 1 (0.1 for 10 %), not at {share:g}.")
        return self.card.positive

    @property
    def prevalence(self) -> float | None:
        """The share of the positive class that probabilities are stated for; None without one, or where unknown."""
        known = self.calibration.prevalence
        return known[self.card.positive] if known and self.card.positive is not None else None

    @property
    def sizes(self) -> tuple[int, ...]:
        """Edges of the squares that the networks take, the outlier detector's first."""
        return tuple(dict.fromkeys(m.image_size for m in self.members))

    def prepare(self, image: NDArray[Any]) -> dict[int, NDArray[np.uint8]]:
        """One image `(height, width)` or `(height, width, 1 or 3)` of pixel values 0–255 as squares, by edge.

        Raises:
            ValueError: it has another shape, or its values are neither uint8 nor floats in 0–255.
        """
        picture = self.picture(image, self.card.channels)
        return {size: square(picture, size, self.card.fit) for size in self.sizes}

    def picture(self, image: NDArray[Any], channels: int) -> Image.Image:
        """One image `(height, width)` or `(height, width, 1 or 3)` of pixel values 0–255 as PIL's, gray or RGB.

        Raises:
            ValueError: it has another shape, or its values are neither uint8 nor floats in 0–255.
        """
        array = _pixels(np.asarray(image))
        if array.ndim == 3 and array.shape[2] == 1:
            array = array[..., 0]
        if array.ndim not in {2, 3} or (array.ndim == 3 and array.shape[2] != 3):
            raise ValueError(f"an image must be (height, width) or (height, width, 1 or 3), not {np.shape(image)}")
        return Image.fromarray(array).convert("L" if channels == 1 else "RGB")

    def read(self, path: str | Path) -> dict[int, NDArray[np.uint8]]:
        """One file as squares, by edge.

        Raises:
            xraytune.data.decoding.reading.Unreadable: it is no image that can be decoded to its end.
        """
        return {size: read_image(path, size, fit=self.card.fit, channels=self.card.channels) for size in self.sizes}

    def decode(self, content: bytes) -> dict[int, NDArray[np.uint8]]:
        """A file's content as squares, by edge.

        Raises:
            xraytune.data.decoding.reading.Unreadable: it is no image that can be decoded to its end.
        """
        fit, channels = self.card.fit, self.card.channels
        return {size: reading.image_of(content, size, fit=fit, channels=channels) for size in self.sizes}

    def predict_squares(self, squares: Mapping[int, NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Calibrated probabilities `(n, k)` of prepared images: arrays `(n, s, s, c)` by edge s."""
        return self.calibration.apply(self.raw_squares(squares)).astype(np.float32)

    def raw_squares(self, squares: Mapping[int, NDArray[np.uint8]]) -> NDArray[np.float32]:
        """The networks' weighted mean `(n, k)`, before calibration."""
        parts = [self.network(i, squares[m.image_size]) for i, m in enumerate(self.members)]
        return average(parts, [m.weight for m in self.members])

    def network(self, index: int, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Uncalibrated probabilities of one network, with the model's test-time augmentation."""
        return test_time_augmentation.answers(self.networks[index], images, self.card.tta)

    def predict(self, images: Iterable[NDArray[Any]]) -> NDArray[np.float32]:
        """Calibrated probabilities of images of any size.

        Args:
            images: `(n, height, width)`, `(n, height, width, 1 or 3)`, or a sequence of images of differing sizes;
                pixel values 0–255, uint8 or float.

        Returns:
            float32 `(n, k)`, columns in the order of `card.classes`.

        Raises:
            ValueError: an image has another shape, or its values are neither uint8 nor floats in 0–255.
        """
        prepared = [self.prepare(image) for image in images]
        if not prepared:
            return np.zeros((0, len(self.card.classes)), np.float32)
        return self.predict_squares({size: np.stack([p[size] for p in prepared]) for size in self.sizes})

    def decide(self, probabilities: NDArray[Any]) -> NDArray[np.int64]:
        """Class indices `(n,)` at the operating threshold."""
        return metrics.decide(probabilities, self.card.positive, self.card.threshold)

    def answer(self, probabilities: NDArray[Any]) -> NDArray[np.int64]:
        """Class indices `(n,)`, -1 for an image that is referred; those of `decide` where the model refers none.

        Args:
            probabilities: as `predict` gives them, `(n, k)`.
        """
        if self.referral is None or self.card.positive is None:
            return self.decide(probabilities)
        return self.referral.decide(probabilities, self.card.positive)

    def restated_referral(self, share: float) -> Referral | None:
        """The referral's thresholds among probabilities that are restated for this share of the positive class.

        Raises:
            InputError: as `restated`.
        """
        if self.referral is None:
            return None
        before = self.calibration.prevalence[self._checked(share)]
        low, high = (prevalences.moved(at, before, share) for at in (self.referral.low, self.referral.high))
        return replace(self.referral, low=low, high=high)

    def unusual(self, squares: Mapping[int, NDArray[np.uint8]]) -> list[str]:
        """For each prepared image in what it is unlike the training images; empty where it is like them."""
        images = squares[self.sizes[0]]
        return self.outliers.far(images) if self.outliers else [""] * len(images)

    @property
    def inexplicable(self) -> str:
        """Why there is no Grad-CAM, which needs gradients from images on; empty where there is."""
        if any(member.backbone for member in self.members):
            return "Grad-CAM is not available: the model's networks take features of a backbone by file."
        if not all(isinstance(network, KerasNetwork) for network in self.networks):
            return "Grad-CAM needs the Keras model (gradients): give the folder, not the .onnx file."
        return ""

    @property
    def heat_method(self) -> str:
        """What its heat maps are called."""
        from xraytune.inference.grad_cam import method

        return method([network.model for network in self.networks if isinstance(network, KerasNetwork)])

    def heat_maps(
        self, squares: Mapping[int, NDArray[np.uint8]], classes: NDArray[np.integer], edge: int
    ) -> NDArray[np.float32]:
        """Grad-CAM of prepared images for a class each, averaged over the networks by their weights.

        Returns:
            float32 `(n, edge, edge)`, 0 to 1 within each image; all 0 where nothing speaks for the class.

        Raises:
            InputError: the model has no gradients (`inexplicable`).
        """
        from xraytune.inference.grad_cam import ensemble_heat_maps

        if self.inexplicable:
            raise InputError(self.inexplicable)
        models = [network.model for network in self.networks if isinstance(network, KerasNetwork)]
        images = [squares[m.image_size] for m in self.members]
        return ensemble_heat_maps(models, [m.weight for m in self.members], images, classes, edge)


def load_model(path: str | Path) -> Classifier:
    """Load a saved model.

    Args:
        path: the folder that `search.retrain` wrote, or a file in it; with an `.onnx` file the exported networks run
            in ONNX Runtime (extra `onnx`) and Keras is not imported.

    Raises:
        ArtifactError: a file is missing, cut off or was changed by as much as a byte, or can't be loaded.
    """
    given = Path(path)
    for folder in (given, given.parent):
        artifacts.restored(folder)
    if not given.exists() and given.suffix == ".onnx" and (given.parent / CARD).exists():
        raise ArtifactError(f"{given} was not exported yet. Export it: python -m search.export {given.parent}")
    folder = folder_of(given)
    card = read_card(folder)
    exported = given.suffix == ".onnx"
    members = [Member.from_json(m) for m in (card.onnx if exported else card.members)]
    if not members:
        raise ArtifactError(f"{folder} holds no ONNX export. Make one: python -m search.export {folder}")
    if given.is_file() and given.name != CARD and given.name not in {m.file for m in members}:
        raise ArtifactError(f"{given.name} is not one of the model's files: {', '.join(m.file for m in members)}.")
    networks: list[Network] = []
    ready: dict[str, Any] = {}
    for member in members:
        file = folder / member.file
        artifacts.check_sha256(file, member.sha256)
        if exported:
            networks.append(OnnxNetwork(onnx_session(file)))
            continue
        network = _loaded(folder, member, card.channels, ready)
        _check_shape(network, member, card, file)
        networks.append(KerasNetwork(network))
    try:
        return Classifier(card, networks)
    except FOREIGN as error:
        raise ArtifactError(f"{folder / CARD} can't be read: {error}.") from None


def _check_shape(network: Any, member: Member, card: ModelCard, file: Path) -> None:
    """Refuse a network that takes other images, or answers for other classes, than `model.json` says.

    Raises:
        ArtifactError: it does.
    """
    image = (member.image_size, member.image_size, card.channels)
    takes, gives = (getattr(network, name, None) or () for name in ("input_shape", "output_shape"))
    classes = {len(card.classes), *([1] if len(card.classes) == 2 else [])}
    differs = len(takes) == 4 and any(one not in {None, asked} for one, asked in zip(takes[1:], image, strict=True))
    if differs or (gives and (len(gives) != 2 or gives[1] not in classes)):
        raise ArtifactError(
            f"{file} is not a network of this model: its input is {takes} and its output {gives}, but {CARD} has "
            f"images of {image} and {len(card.classes)} classes."
        )


def _loaded(folder: Path, member: Member, channels: int, ready: dict[str, Any]) -> Any:
    """A member's network, with its backbone where that is a file, checked; `ready` has those of members before it."""
    network = load_network(folder / member.file)
    if not member.backbone:
        return network
    from xraytune.models.file_backbones.backbone import FileBackbone
    from xraytune.models.file_backbones.network import Joined, RememberingBackbone

    try:
        backbone = FileBackbone.from_json(member.backbone)
    except (TypeError, ValueError) as error:
        raise ArtifactError(f"{folder / CARD} can't be read: {error}.") from None
    file = folder / backbone.path
    if file.name != backbone.path:
        raise ArtifactError(f"{folder / CARD} names {backbone.path}, which is not in the model's folder.")
    if backbone.path not in ready:
        artifacts.check_sha256(file, backbone.sha256)
        ready[backbone.path] = RememberingBackbone(replace(backbone, path=str(file)), channels)
    return Joined(ready[backbone.path], network)
