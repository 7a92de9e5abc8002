"""What one training sees: decoded pools, labels, who is trained on and who is judged. Picklable, no pixels inside.

Made by the driver (`search.driver.prepare`, `search.retraining.steps`), which has no need of Keras for it; used by
`training`.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xraytune import artifacts
from xraytune.data import image_properties, split
from xraytune.errors import FOREIGN, ArtifactError
from xraytune.training.inputs import batches, shifted_views, view_transforms
from xraytune.training.inputs.shifted_views import View

if TYPE_CHECKING:
    from xraytune.data import Dataset


@dataclass(frozen=True)
class TrialData:
    """What one training sees; picklable."""

    pools: Mapping[int, Path | NDArray[np.uint8]]
    """Size → decoded pool, uint8 `(n, size, size, c)`; a path is mapped read-only."""

    labels: NDArray[np.int32]
    """`(n,)`, indices into `classes`."""

    patients: NDArray[Any]
    """`(n,)`, who each image is of."""

    train: NDArray[np.int64]
    """Indices trained on."""

    validation: NDArray[np.int64]
    """Indices judged on; empty for a refit on everything."""

    classes: tuple[str, ...]
    positive: int | None
    channels: int
    fingerprint: str
    """Of the pool's images in their order; part of every cache key, since what is kept is kept by row."""

    cache: Path
    cache_limit: int = 0
    """Bytes that kept prefixes may take on disk together; 0 leaves it to `prefix_store.limit_bytes`."""

    weights_dir: Path | None = None

    crop_size: int = 0
    """Which of `pools` random crops are cut from; where it is not larger than a network's input, that one's own."""

    copies_share: float = 1.0
    """Part of a process's time that it may spend on augmented copies of frozen features; one is always made."""

    views: tuple[View, ...] = ()
    """Shifted views of validation images, from `with_views`; none leaves robustness unmeasured."""

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        pools: Mapping[int, Path],
        *,
        refit: bool = False,
        cache: Path,
        cache_limit: int = 0,
        weights_dir: Path | None = None,
        crop_size: int = 0,
    ) -> TrialData:
        """What `xraytune.data` loaded: trained on train, judged on val.

        Args:
            dataset: its train and val images.
            pools: of these images, from `data.arrays.pools`.
            refit: train on both and judge on none.
            cache: the cache folder.
            cache_limit: bytes that kept prefixes may take on disk together.
            weights_dir: where backbones' weights lie.
            crop_size: which of the pools random crops are cut from.
        """
        train = dataset.select("train")
        images = train + dataset.select("val")
        trained = len(images) if refit else len(train)
        # the data set's fingerprint says nothing of how the seed deals train and val, which is the pools' order
        ordered = hashlib.sha256(dataset.train_fingerprint.encode() + images.digests.tobytes())
        return cls(
            pools=pools,
            labels=images.labels.astype(np.int32),
            patients=images.patients.astype(str),
            train=np.arange(trained),
            validation=np.arange(trained, len(images)),
            classes=dataset.classes,
            positive=dataset.positive,
            channels=dataset.channels,
            fingerprint=ordered.hexdigest(),
            cache=cache,
            cache_limit=cache_limit,
            weights_dir=weights_dir,
            crop_size=crop_size,
        )

    def by_site(self, dataset: Dataset) -> dict[str, TrialData]:
        """The same with one site of `Dataset.sites` held out for validation each; nothing where there are none.

        Args:
            dataset: whose train and val images these are.
        """
        if not dataset.sites:
            return {}
        folds = split.site_folds(dataset.sites_of("train", "val"), self.patients.tolist())
        return {s: dataclasses.replace(self, train=train, validation=held) for s, (train, held) in folds.items()}

    def crops_from(self, size: int) -> NDArray[np.uint8]:
        """The images that random crops for a network of this input size are cut from."""
        return batches.mapped(self.pools[max(size, self.crop_size)])


def with_views(data: TrialData, seed: int) -> TrialData:
    """The data with the views that suit their training images; the same data and seed give the same views.

    They are planned on the decoded size nearest to 64 px: amounts are fractions and factors, good for every size.
    Planning takes seconds, so the plan is kept in the cache.
    """
    size = min(data.pools, key=lambda size: (abs(size - 64), size))
    path = _plan_file(data, size, seed)
    try:
        planned = tuple(View.from_json(view) for view in artifacts.read_json(path)["views"])
    except (ArtifactError, *FOREIGN):  # not there, or no longer what was written
        pool, train = batches.mapped(data.pools[size]), np.asarray(data.train)
        planned = shifted_views.plan_views(pool, data.labels, train, classes=data.classes, seed=seed)
        artifacts.write_json(path, {"views": [view.to_json() for view in planned]})
    return dataclasses.replace(data, views=planned)


def _plan_file(data: TrialData, size: int, seed: int) -> Path:
    """Where the plan for these images is kept: named by all that it follows from, the code that plans among them."""
    digest = hashlib.sha256(f"{data.fingerprint} {size} {seed} {data.classes}".encode())
    pool = data.pools[size]
    digest.update(pool.name.encode() if isinstance(pool, Path) else np.ascontiguousarray(pool).tobytes())
    for part in (data.labels, data.train):
        digest.update(np.ascontiguousarray(part, np.int64).tobytes())
    for module in (shifted_views, view_transforms, image_properties):
        digest.update(artifacts.sha256(str(module.__file__)).encode())
    return data.cache / "view-plans" / f"{digest.hexdigest()[:32]}.json"
