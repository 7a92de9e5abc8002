"""A training on disk, so that another worker can go on with its next epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytune import artifacts
from xraytune.framework import keras


def write(folder: Path, network: keras.Model, arrays: Mapping[str, NDArray[Any]], state: Mapping[str, Any]) -> None:
    """Write what training has changed of a network, further arrays, and plain values.

    Args:
        folder: made if it is missing.
        network: compiled; its weights, generators and optimiser are written.
        arrays: by name.
        state: plain values.
    """
    folder.mkdir(parents=True, exist_ok=True)
    named = {f"variable{i}": np.array(v.numpy()) for i, v in enumerate(_variables(network))}
    np.savez(folder / "state.npz", **named, **arrays)  # type: ignore[arg-type]  # numpy reads names as its own option
    artifacts.write_json(folder / "state.json", dict(state))


def read_state(folder: Path) -> dict[str, Any]:
    """The plain values."""
    return dict(artifacts.read_json(folder / "state.json"))


@contextmanager
def restored(folder: Path, network: keras.Model) -> Iterator[Any]:
    """Put back what `write` wrote of a network, compiled as it was then; inside, all arrays by name."""
    with np.load(folder / "state.npz") as arrays:
        for i, variable in enumerate(_variables(network)):
            variable.assign(arrays[f"variable{i}"])
        yield arrays


def _variables(network: keras.Model) -> list[Any]:
    """All that training changes: weights, generators' states, the optimiser's own; metrics are reset."""
    network.optimizer.build(network.trainable_variables)
    counted = {id(v) for m in network.metrics for v in m.variables}
    own = [v for v in network.variables if id(v) not in counted]
    return own + [v for v in network.optimizer.variables if id(v) not in {id(o) for o in own}]
