"""What the training images look like, in a few numbers, so that a model can say "this is not what I was trained on".

Not a test for disease and not proof of fitness: a photograph, a flat or half empty picture, an inverted or turned image
stands out; a mirrored one, or an image of another hospital, usually does not. Kept inside the saved model; asked by
`search.predict`.

Thirteen quantities of each training image; their centre and covariance by scikit-learn's minimum covariance determinant
(Rousseeuw & Van Driessen 1999), which the odd images among them do not bend. An image is far by its Mahalanobis
distance, by its most extreme quantity alone, or by looking turned. The limits are quantiles of images that were held
out of a fit (cross-validation), so that about one in 200 images of the same source is marked.

Measured on Kermany's training images, 1,000 fitted and 400 others asked: `tests/real/test_outliers.py` holds that at
most 2 % of the others are marked, and at least 95 % of the same images upside down, turned by 90° or 180°, inverted, or
half black, and all flat grays, noise and photographs.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from xraytune.data import image_properties
from xraytune.evaluation.metrics import Floats
from xraytune.records import Record

THUMBNAIL = 14
"""Edge of the thumbnails that layouts are compared on; the smallest images have 28."""

QUANTITIES = (
    "brightness",
    "contrast",
    "dark tones",
    "light tones",
    "ratio of horizontal to vertical gradients",
    "sharpness",
    "position of the chest",
    "height of the chest",
    "width of the chest",
    "brightness at the sides",
    "likeness to the mean training image",
    "left-right symmetry",
    "orientation",
)
GRAIN = np.array([2, 0.03, 2, 2, 0.02, 0.02, 0.05, 0.05, 0.05, 0.1, 0.03, 0.03, 0.1])
"""Of each quantity: a difference this small says nothing. Added as noise in a fit, it keeps the spread of a quantity
that never varies (no image has a black tenth) above 0."""

SAMPLE = 1000
"""Images that the numbers come from."""

FEWEST = 20
"""With fewer images nothing is known of their spread, and no image is called far."""

FOLDS = 5

MARKED = 1 / 200
"""Share of held-out training images that may be marked."""


@dataclass(frozen=True)
class _Seen:
    """What is computed of some images once, whatever they are compared with."""

    plain: Floats
    """`(n, 11)`: the quantities that need no comparison, in the order of `QUANTITIES`."""
    small: Floats
    """`(n, t²)`: thumbnails."""

    @classmethod
    def of(cls, images: NDArray[np.uint8]) -> Self:
        """Of images `(n, s, s, c)`; skewed quantities as logarithms, correlations by Fisher's z."""
        gray = image_properties.gray(images)
        flat = gray.reshape(len(gray), -1)
        small = _thumbnails(gray)
        dark, light = np.percentile(flat, [10, 90], axis=1)
        symmetric = _fisher((small * _flipped(small, 2)).sum(axis=1))
        columns = [
            image_properties.brightness(gray), np.log(image_properties.contrast(gray) + 1), dark, light,
            image_properties.gradient_ratio(gray), image_properties.sharpness(gray),
            *image_properties.framing(image_properties.thumbnails(gray)).T, symmetric,
        ]  # fmt: skip
        return cls(np.stack(columns, axis=1), small)

    def where(self, chosen: NDArray[Any]) -> Self:
        """Those that a mask names."""
        return type(self)(self.plain[chosen], self.small[chosen])

    def quantities(self, thumbnail: Floats, upright: Floats) -> Floats:
        """`QUANTITIES`, `(n, 13)`.

        Args:
            thumbnail: the mean training image, `(t²,)`.
            upright: weights of a thumbnail's log odds of being upright, `(t²,)`.
        """
        like = _fisher(self.small @ thumbnail)
        return np.column_stack([self.plain[:, :-1], like, self.plain[:, -1], self.small @ upright])


def _fisher(correlation: Floats) -> Floats:
    return np.asarray(np.arctanh(np.clip(correlation, -0.999, 0.999)))


@dataclass(frozen=True)
class _Fit:
    """Centre and spread of some images, without limits."""

    location: Floats
    """`(13,)`."""
    precision: Floats
    """Inverse covariance `(13, 13)`."""
    spread: Floats
    """Standard deviations `(13,)`."""
    thumbnail: Floats
    """The mean thumbnail `(t²,)`, standardised."""
    upright: Floats
    """Weights `(t²,)` of a thumbnail's log odds of being upright and not upside down."""

    def scores(self, seen: _Seen) -> tuple[Floats, Floats]:
        """How far `n` images are, and each quantity's deviation.

        Returns:
            `(n, 3)`: Mahalanobis distance, largest deviation of one quantity, how turned it looks; and `(n, 13)`:
            standard deviations from the centre.
        """
        x = seen.quantities(self.thumbnail, self.upright) - self.location
        distance = np.sqrt(np.einsum("ij,jk,ik->i", x, self.precision, x))
        z = x / self.spread
        return np.stack([distance, np.abs(z).max(axis=1), -z[:, -1]], axis=1), z


@dataclass(frozen=True)
class OutlierDetector(Record):
    """Tells images that lie far from the training images in the space of `QUANTITIES`."""

    location: tuple[float, ...]
    precision: tuple[tuple[float, ...], ...]
    """Inverse covariance."""
    spread: tuple[float, ...]
    thumbnail: tuple[float, ...]
    upright: tuple[float, ...]
    limits: tuple[float, ...]
    """Distance, deviation of one quantity and turnedness above which an image is far; empty: `FEWEST`."""

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """The record that `to_json` wrote.

        Raises:
            ValueError: a key is unknown.
            TypeError: a key is missing.
        """
        rows = plain.get("precision", ())
        return super().from_json({**plain, "precision": tuple(tuple(row) for row in rows)})

    def __post_init__(self) -> None:
        n, cells = len(self.location), len(self.thumbnail)
        shaped = len(self.spread) == n and [len(row) for row in self.precision] == [n] * n
        if not shaped or len(self.upright) != cells or len(self.limits) not in {0, 3}:
            raise ValueError("what it says of the training images' properties does not fit together")
        parts = (self.location, self.spread, self.thumbnail, self.upright, self.limits, *self.precision)
        numbers = list(itertools.chain(*parts))
        if not np.isfinite(numbers).all() or min(self.spread, default=1) <= 0 or min(self.limits, default=1) <= 0:
            raise ValueError("what it says of the training images' properties is out of range")

    def far(self, images: NDArray[np.uint8]) -> list[str]:
        """For each image `(n, s, s, c)` in what it is far from the training images; empty where it is not.

        Empty for all where that is not known: of few training images, or of a model with other quantities than these.
        """
        if not self.limits or not len(images) or len(self.location) != len(QUANTITIES):
            return [""] * len(images)
        fitted = _Fit(*(np.asarray(getattr(self, name)) for name in _Fit.__dataclass_fields__))
        scores, z = fitted.scores(_Seen.of(images))
        over = scores / np.asarray(self.limits)
        out = []
        for row, deviations in zip(over, np.abs(z), strict=True):
            turned = row[2] > 1 and row[2] >= row[1]
            what = len(QUANTITIES) - 1 if turned else int(deviations.argmax())
            out.append(QUANTITIES[what] if row.max() > 1 else "")
        return out


def _thumbnails(gray: NDArray[np.uint8]) -> Floats:
    """Means of the cells of `(n, s, s)`, each thumbnail with mean 0 and length 1 (0 where it is flat): `(n, t²)`."""
    n, s = gray.shape[:2]
    edges = np.linspace(0, s, min(THUMBNAIL, s) + 1).astype(int)
    rows = np.add.reduceat(gray.astype(np.float64), edges[:-1], axis=1)
    cells = np.add.reduceat(rows, edges[:-1], axis=2).reshape(n, -1)
    cells /= np.outer(np.diff(edges), np.diff(edges)).ravel()
    centred = cells - cells.mean(axis=1, keepdims=True)
    return np.asarray(centred / (np.linalg.norm(centred, axis=1, keepdims=True) + 1e-9))


def _flipped(small: Floats, axis: int) -> Floats:
    """Thumbnails `(n, t²)` upside down (1) or mirrored (2)."""
    edge = round(small.shape[1] ** 0.5)
    return np.flip(small.reshape(-1, edge, edge), axis).reshape(small.shape)


def _fit(seen: _Seen, rng: np.random.Generator) -> _Fit:
    from sklearn.covariance import OAS, MinCovDet
    from sklearn.linear_model import LogisticRegression

    small = seen.small
    mean = small.mean(axis=0)
    thumbnail = mean / (np.linalg.norm(mean) + 1e-9)
    # upright or upside down, mirrored or not; without an intercept, since turning an image turns the sign of its answer
    ways = np.concatenate([small, _flipped(small, 2), _flipped(small, 1), _flipped(_flipped(small, 1), 2)])
    up = np.repeat([1, 0], 2 * len(small))
    upright = LogisticRegression(C=10, fit_intercept=False, max_iter=1000).fit(ways, up).coef_[0]
    values = seen.quantities(thumbnail, upright)
    values = values + rng.normal(0, 1, values.shape) * GRAIN
    several = len(values) >= 5 * values.shape[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of steps within the search for the smallest determinant
        found = (MinCovDet(random_state=0) if several else OAS()).fit(values)
    return _Fit(found.location_, found.precision_, np.sqrt(np.diag(found.covariance_)), thumbnail, upright)


def fit(images: NDArray[np.uint8], seed: int = 0) -> OutlierDetector:
    """A detector for training images `(n, s, s, c)`, as the network sees them; at most `SAMPLE` of them are read.

    The limits come from images that were held out. Each of the three scores gets the quantile that `MARKED` asks for;
    all three are then widened alike until no more than that share is over any of them.
    """
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(images))[:SAMPLE])
    sample = np.asarray(images[chosen])
    if len(sample) < FEWEST:
        return OutlierDetector((), (), (), (), (), ())
    seen = _Seen.of(sample)
    fitted = _fit(seen, rng)
    fold = rng.permutation(len(sample)) % FOLDS
    held = np.concatenate([_fit(seen.where(fold != k), rng).scores(seen.where(fold == k))[0] for k in range(FOLDS)])
    each = np.maximum(np.quantile(held, 1 - MARKED, axis=0, method="higher"), 1.0)
    widened = np.quantile((held / each).max(axis=1), 1 - MARKED, method="higher")
    return OutlierDetector(
        tuple(fitted.location.tolist()),
        tuple(tuple(row) for row in fitted.precision.tolist()),
        tuple(fitted.spread.tolist()),
        tuple(fitted.thumbnail.tolist()),
        tuple(fitted.upright.tolist()),
        tuple((each * max(widened, 1.0)).tolist()),
    )
