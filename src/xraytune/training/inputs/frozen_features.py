"""Frozen prefixes: what the layers that never train compute, computed once and kept for every trial.

`split` finds the prefix of a built network; `Prefix.features` gives its outputs for the rows asked for, as a mapped
float16 array, computing those that no trial has computed yet.

An array is kept beside the image cache (`prefix_store`) under a key of everything it depends on: the prefix's layers,
their wiring and weights (sha256), the pool's fingerprint and size, the augmentation and which copy. Rows are computed
in blocks of 64, each with its own seed, so that it does not matter who computes what in which order; a block is
computed under a kernel lock of its group, so that trials which need the same prefix share the work, and a killed one
leaves no claim behind.

Tracing a DenseNet takes half a minute: the last prefixes that a process computed with stay in it, traced, and serve
every later trial whose prefix has the same key.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytune.framework import keras
from xraytune.models.file_backbones.network import Backbone, Joined
from xraytune.training.inputs import augmentation
from xraytune.training.inputs.augmentation import Augmentation
from xraytune.training.inputs.batches import Rows
from xraytune.training.inputs.feature_store import BLOCK, Store

FLOAT16_MAX = 65504.0

MOST_TRACED = 2
"""Traced prefixes that a process keeps: a family's usual one and one more, 60 MB of weights each at most."""

_traced: OrderedDict[str, keras.Model] = OrderedDict()
"""By key, the least recently used first."""


@dataclass(frozen=True)
class AugmentedCopy:
    """One seeded copy of the images, augmented before the prefix sees them."""

    augmentation: Augmentation
    number: int
    """Which copy, from 0."""

    crop_from: NDArray[Any] | None = None
    """The same images at the size that crops are cut from, where the augmentation crops; None: the pool itself."""


@dataclass(frozen=True)
class Prefix:
    """The frozen first part of a network."""

    model: keras.Model | Backbone
    """Pixels in, the cut tensor out; shares the network's layers, or is a backbone by file."""

    key: str
    """sha256 over its layers, their wiring and weights."""

    layer: str
    """The last layer of it, for messages."""

    stores: dict[str, Store] = field(default_factory=dict, compare=False, repr=False)
    """What it has computed or found so far, held, so that nothing of it is evicted while its trial runs."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one image's features."""
        shape: tuple[Any, ...] = self.model.output_shape[1:]
        return tuple(map(int, shape))

    def features(
        self,
        pool: NDArray[Any],
        rows: Rows,
        *,
        fingerprint: str,
        cache: Path,
        copy: AugmentedCopy | None = None,
        limit: int = 0,
        check: Callable[[], None] = lambda: None,
    ) -> NDArray[np.float16]:
        """The prefix's outputs, a mapped array `(n, *shape)` in which at least `rows` are computed.

        Args:
            pool: images `(n, size, size, c)`, uint8.
            rows: which are needed.
            fingerprint: of the data the pool was made from.
            cache: the cache folder.
            copy: what is done to the images first; None keeps them plain.
            limit: bytes that kept prefixes may take on disk together; 0 leaves it to `prefix_store.limit_bytes`.
            check: called between blocks; raises to stop (a deadline).

        Raises:
            TrialError: there is no room for it.
        """
        name, about, images = self._named(pool, fingerprint, copy)
        size = pool.shape[1]
        if name not in self.stores:
            folder, shape = cache / "prefixes" / name, (len(pool), *self.shape)
            self.stores[name] = Store.open(folder, shape, about | {"layer": self.layer}, limit)
        store = self.stores[name]
        seed = int(name[:7], 16)

        def compute(block: int) -> NDArray[np.float16]:
            part = np.asarray(images[block * BLOCK : (block + 1) * BLOCK])
            return self._compute(augmentation.apply(copy.augmentation, part, seed + 4 * block, size) if copy else part)

        store.fill(np.unique(rows // BLOCK), compute, check)
        return store.array

    def has(
        self, pool: NDArray[Any], rows: Rows, *, fingerprint: str, cache: Path, copy: AugmentedCopy | None = None
    ) -> bool:
        """Whether the outputs of all `rows` are computed; arguments as for `features`."""
        name, _, _ = self._named(pool, fingerprint, copy)
        return Store.has(cache / "prefixes" / name, np.unique(rows // BLOCK))

    def _named(
        self, pool: NDArray[Any], fingerprint: str, copy: AugmentedCopy | None
    ) -> tuple[str, dict[str, Any], NDArray[Any]]:
        """An array's name, what it is made from, and the images that are augmented for it."""
        about: dict[str, Any] = {
            "prefix": self.key,
            "pool": [fingerprint, *map(int, pool.shape)],
            "augmentation": [*dataclasses.astuple(copy.augmentation), copy.number] if copy else None,
        }
        images = pool
        if copy and copy.augmentation.cropping and copy.crop_from is not None:
            images, about["crops"] = copy.crop_from, list(copy.crop_from.shape)
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32], about, images

    def _compute(self, x: NDArray[Any]) -> NDArray[np.float16]:
        n = len(x)
        outputs: NDArray[np.float32] = _runner(self).predict_on_batch(np.resize(x, (BLOCK, *x.shape[1:])))[:n]
        return np.clip(outputs, -FLOAT16_MAX, FLOAT16_MAX).astype(np.float16)


def of(whole: keras.Model | Joined) -> Prefix | None:
    """The prefix of what takes images: the backbone by file whose features a head takes, or what `split` finds."""
    if not isinstance(whole, Joined):
        return split(whole)
    about = whole.backbone.about
    return Prefix(whole.backbone, about.key, about.name)


def split(model: keras.Model) -> Prefix | None:
    """The frozen prefix of a built functional network, or None where there is none worth keeping or it has no key.

    It ends at the last single tensor that everything after depends on alone, before the first layer that is trainable,
    random or part of a head. A foreign network's pooling, which is neither, stays inside.
    """
    if not isinstance(model, keras.models.Model) or not hasattr(model, "operations"):
        return None
    operations = list(model.operations)
    position = {id(t): i for i, op in enumerate(operations) for t in _outputs(op)}
    last_use = dict.fromkeys(position, -1)
    for i, op in enumerate(operations):
        if not isinstance(op, keras.layers.InputLayer):
            for tensor in _inputs(op):
                last_use[id(tensor)] = i
    for tensor in model.outputs:
        last_use[id(tensor)] = len(operations)
    cut, open_until, weights = None, -1, False
    for i, op in enumerate(operations):
        if getattr(op, "trainable_weights", None) or _random(op) or op.name.startswith(("head", "predictions")):
            break
        weights = weights or bool(getattr(op, "weights", None))
        if open_until <= i and weights and len(_outputs(op)) == 1:
            cut = op
        open_until = max(open_until, *(last_use[id(t)] for t in _outputs(op)))
    if cut is None or len(model.inputs) != 1:
        return None
    frozen = keras.Model(model.inputs, _outputs(cut)[0], name="prefix")
    try:
        return Prefix(frozen, _key(frozen), cut.name)
    except (NotImplementedError, TypeError):  # nobody can tell it from another
        return None


def _inputs(op: keras.Operation) -> list[Any]:
    """What an operation takes; of a network inside the network the caller's tensors, where `op.input` is its own."""
    return list(keras.tree.flatten(keras.Operation.input.fget(op)))


def _outputs(op: keras.Operation) -> list[Any]:
    """What an operation gives, as `_inputs`."""
    return list(keras.tree.flatten(keras.Operation.output.fget(op)))


def _random(op: Any) -> bool:
    module = type(op).__module__
    return "regularization" in module or type(op).__name__.startswith("Random")


def _key(model: keras.Model) -> str:
    """sha256 over its layers, how they are wired, the constants between them, and its weights.

    Raises:
        NotImplementedError, TypeError: a foreign layer doesn't say what it was made with.
    """
    digest = hashlib.sha256(json.dumps(_numbered(model.get_config()), sort_keys=True, default=str).encode())
    for weight in model.weights:
        digest.update(np.ascontiguousarray(weight.numpy()).tobytes())
    return digest.hexdigest()


def _numbered(config: Any, numbers: Mapping[str, int] | None = None) -> Any:
    """A network's configuration with its layers' numbers for their names, which count builds ("conv2d_7").

    Args:
        config: of the network, or any part of it.
        numbers: of the layers of the innermost network around it.
    """
    if isinstance(config, list | tuple):
        return [_numbered(part, numbers) for part in config]
    if not isinstance(config, dict):
        return config
    layers = config.get("layers")
    if isinstance(layers, list) and all(isinstance(layer, dict) and "config" in layer for layer in layers):  # a network
        numbers = {str(layer["config"].get("name")): i for i, layer in enumerate(layers)}
        layers = [{**layer, "config": {**layer["config"], "name": i}, "name": i} for i, layer in enumerate(layers)]
        config = {**config, "layers": layers, "name": None}
    named = {"keras_history", "input_layers", "output_layers"}
    return {k: _renamed(v, numbers or {}) if k in named else _numbered(v, numbers) for k, v in config.items()}


def _renamed(names: Any, numbers: Mapping[str, int]) -> Any:
    """Layers' names, in lists of any depth or dictionaries, as their numbers."""
    if isinstance(names, dict):
        return {k: _renamed(v, numbers) for k, v in names.items()}
    return [_renamed(n, numbers) for n in names] if isinstance(names, list | tuple) else numbers.get(names, names)


def _runner(prefix: Prefix) -> keras.Model | Backbone:
    """The network that computes a prefix: a copy of its own, since the prefix holds the trial's whole network.

    A foreign layer that can't be copied is run where it is, and forgotten with its trial.
    """
    if isinstance(prefix.model, Backbone):
        return prefix.model
    if prefix.key not in _traced:
        try:
            copy = keras.models.clone_model(prefix.model)
        except (NotImplementedError, TypeError, ValueError):
            return prefix.model
        copy.set_weights(prefix.model.get_weights())
        _traced[prefix.key] = copy
        while len(_traced) > MOST_TRACED:
            _traced.popitem(last=False)
    _traced.move_to_end(prefix.key)
    return _traced[prefix.key]
