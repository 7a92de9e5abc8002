"""What a network builder of the user's own varies, found by building its networks in a process of their own.

A KerasTuner HyperModel need not declare what may vary, nor name its image size: both are known once `build(hp)` was
called. That takes a framework, time and memory, and whatever else a user's code does, so the driver leaves it to a
process that ends afterwards (`python -m spaces.discovery`), without an accelerator. Called through `spaces.to_search`.

The first network is built with every default. Then come passes in which every parameter takes each of its values once
(a range its ends and its middle), all parameters at the same time, shuffled anew for each pass, until a pass finds
nothing new. All of it follows from a fixed seed: a resumed search finds the same space.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras_tuner

from spaces.context import SpaceContext
from spaces.space import Space
from xraytune.data import Progress
from xraytune.errors import InputError
from xraytune.records import Value

MOST_PASSES = 4
LEAST_DRAWS, MOST_DRAWS = 4, 16
"""Networks a pass."""

PATIENCE = 900.0
"""Seconds that all builds may take; a ResNet takes one or two on a core, a small network a twentieth."""


@dataclass(frozen=True)
class Drawn:
    """One network that was built, or was tried to be."""

    values: Mapping[str, Value]
    """What its hyperparameters were."""

    inputs: tuple[int | None, ...] = ()
    """Height, width and channels that it takes; empty where it could not be built."""

    outputs: int = 0
    """How many numbers it ends in."""

    problem: str = ""
    """Why it could not be built."""


class Foreign(Space):
    """The user's own HyperModel with the hooks of the base class.

    Args:
        space: declares, builds and fits.
    """

    declares_all = False

    def __init__(self, space: keras_tuner.HyperModel) -> None:
        super().__init__()
        self.space = space

    @property
    def families(self) -> tuple[str, ...]:
        """Those that the user's space names."""
        return tuple(getattr(self.space, "families", ()))

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        """What the user's space declares."""
        self.space.declare_hyperparameters(hp)

    def build(self, hp: keras_tuner.HyperParameters) -> Any:
        """The user's network."""
        return self.space.build(hp)

    def fit(self, hp: keras_tuner.HyperParameters, model: Any, *args: Any, **kwargs: Any) -> Any:
        """The user's hook."""
        return self.space.fit(hp, model, *args, **kwargs)

    def job(self) -> Any | None:
        """The user's `job()`, where the space has one."""
        return self.space.job() if hasattr(self.space, "job") else None

    def completed(self, name: str, context: SpaceContext, progress: Progress | None = None) -> Space:
        """With what its networks were seen to ask for, where it does not declare that itself."""
        return self if hasattr(self.space, "job") else completed(self, name, context, progress)


class Discovered(Foreign):
    """The user's HyperModel with a declaration: what `build` was seen to ask for, and the image size as a parameter.

    Args:
        space: the user's own; it builds and fits.
        parameters: what may vary, parents before children.
    """

    def __init__(self, space: keras_tuner.HyperModel, parameters: Sequence[Any]) -> None:
        super().__init__(space)
        self.parameters = tuple(parameters)

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        """Everything that was found."""
        hp.merge(list(self.parameters), overwrite=False)


def completed(space: Foreign, name: str, context: SpaceContext, progress: Progress | None = None) -> Foreign:
    """A space of the user's own with all that a search must know beforehand: its parameters and its image sizes.

    Args:
        space: found by `name`; given back as it is where it declares an `image_size`.
        name: `module:name` or `file.py:name`.
        context: what the space was given.
        progress: told what takes its time.

    Raises:
        InputError: no network can be built, or none takes the images.
    """
    own = keras_tuner.HyperParameters()
    space.declare_hyperparameters(own)
    if any(_is_size(p.name) for p in own.space):
        return space
    if progress:
        progress(0, 1, "building networks of the space to find its hyperparameters")
    found, drawn = explored(name, context)
    _check(drawn, name, context)
    parameters = own.space or found.space
    if not any(_is_size(p.name) for p in parameters):
        parameters = [*parameters, *_sizes(drawn, parameters, name)]
    return Discovered(space.space, parameters)


def _is_size(name: str) -> bool:
    return name.rpartition("/")[2] == "image_size"


def explored(name: str, context: SpaceContext) -> tuple[keras_tuner.HyperParameters, list[Drawn]]:
    """Build networks of a space in a process of its own.

    Returns:
        All parameters that were asked for, and every network.

    Raises:
        InputError: the process ended otherwise than it should, or took too long.
    """
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}
    with tempfile.TemporaryDirectory(prefix="xraytune-") as folder:
        answer = Path(folder) / "found.json"
        try:
            done = subprocess.run(
                [sys.executable, "-m", __name__, answer],
                input=pickle.dumps((sys.path, name, context)),
                env=environment,
                capture_output=True,
                timeout=PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise InputError(
                f"the space {name!r}: its networks took more than {PATIENCE / 60:.0f} minutes to build. Declare "
                "the hyperparameters, including image_size, in declare_hyperparameters (docs/spaces.md)."
            ) from None
        if done.returncode or not answer.exists():
            said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit status {done.returncode}"]
            raise InputError(f"the space {name!r} ended the process that builds its networks: {said[-1]}")
        plain = json.loads(answer.read_text(encoding="utf-8"))
    drawn = [Drawn(**{**one, "inputs": tuple(one["inputs"])}) for one in plain["drawn"]]
    return keras_tuner.HyperParameters.from_config(plain["found"]), drawn


def _check(drawn: Sequence[Drawn], name: str, context: SpaceContext) -> None:
    """Refuse a space none of whose networks can be trained on the images; single ones fail as trials.

    Raises:
        InputError: with what is wrong with the network of the defaults.
    """
    complaints = [_complaint(one, context) for one in drawn]
    if all(complaints):
        raise InputError(f"the space {name!r}: {complaints[0]}")


def _complaint(one: Drawn, context: SpaceContext) -> str:
    """Why a network can't be trained on the images, empty if it can."""
    if one.problem:
        return f"its network can't be built: {one.problem}"
    if len(one.inputs) != 3 or None in one.inputs or one.inputs[0] != one.inputs[1]:
        shape = " × ".join("any" if length is None else str(length) for length in one.inputs)
        return f"its network takes {shape or 'no known shape'}; it must take square images of a fixed size"
    if one.inputs[2] != context.channels:
        return (
            f"its network takes {one.inputs[2]} channels, the images have {context.channels}: build it for "
            "context.channels, or repeat the channel inside (docs/spaces.md)"
        )
    if one.outputs != context.classes and (one.outputs, context.classes) != (1, 2):
        return f"its network has {one.outputs} outputs for {context.classes} classes"
    return ""


def _sizes(drawn: Sequence[Drawn], parameters: Sequence[Any], name: str) -> list[Any]:
    """The image size as fixed parameters: one for all networks, or one for the values of the parameter that decides.

    Raises:
        InputError: networks differ in size and no single parameter tells why.
    """
    fixed = keras_tuner.engine.hyperparameters.Fixed
    known = [(one.values, one.inputs[0]) for one in drawn if one.inputs and one.inputs[0]]
    sizes = sorted({size for _, size in known if size})
    if len(sizes) == 1:
        return [fixed("image_size", sizes[0])]
    for parameter in parameters:
        told: dict[Value, set[int | None]] = {}
        for values, size in known:
            told.setdefault(values.get(parameter.name, ""), set()).add(size)
        tried, every = {one.values.get(parameter.name) for one in drawn}, set(_every(parameter))
        if parameter.conditions or not every or not every <= tried or max(map(len, told.values())) > 1:
            continue
        hp = keras_tuner.HyperParameters()
        hp.merge([parameter])
        for size in sizes:
            with hp.conditional_scope(parameter.name, [value for value, of in told.items() if of == {size}]):
                hp.Fixed("image_size", size)
        return [p for p in hp.space if p.name == "image_size"]
    listed = ", ".join(map(str, sizes))
    raise InputError(
        f"the space {name!r}: its networks take {listed} px and no single parameter decides it; name the size "
        "image_size (docs/spaces.md)"
    )


# ── in the process of its own ────────────────────────────────────────────────────────────────────────────────────────


def explore(space: keras_tuner.HyperModel) -> tuple[keras_tuner.HyperParameters, list[Drawn]]:
    """Build networks until no further parameter turns up.

    Returns:
        All parameters, parents before children, and every network.
    """
    found = keras_tuner.HyperParameters()
    space.declare_hyperparameters(found)
    drawn = [_draw(space, {}, found)]
    chance = random.Random(0)
    for _ in range(MOST_PASSES):
        before = len(found.space)
        offered = {p.name: _values(p) for p in found.space}
        for values in offered.values():
            chance.shuffle(values)
        draws = min(max(map(len, offered.values()), default=0), MOST_DRAWS)
        points = [
            {name: values[i % len(values)] for name, values in offered.items()}
            for i in range(max(draws, LEAST_DRAWS) if draws > 1 else 0)
        ]
        drawn += [_draw(space, point, found) for point in points]
        if len(found.space) == before and not drawn[0].problem:
            break
    return found, drawn


def _values(parameter: Any) -> list[Value]:
    """What a parameter is tried at: all of a few values, else its ends, its middle and its default."""
    every = _every(parameter)
    if 0 < len(every) <= MOST_DRAWS:
        return every
    if every:
        return [every[0], every[len(every) // 2], every[-1], parameter.default]
    return [parameter.min_value, parameter.prob_to_value(0.5), parameter.max_value, parameter.default]


def _every(parameter: Any) -> list[Value]:
    """Every value of a parameter, none for a range of fractions or on a scale of its own."""
    kind = type(parameter).__name__
    if kind in {"Choice", "Boolean", "Fixed"}:
        return list(parameter.values)
    if kind == "Int" and (parameter.sampling == "linear" or not parameter.step):
        return list(range(parameter.min_value, parameter.max_value + 1, parameter.step or 1))
    return []


def _draw(space: keras_tuner.HyperModel, values: dict[str, Value], found: keras_tuner.HyperParameters) -> Drawn:
    """Build one network, and add what it asked for to `found`."""
    hp = keras_tuner.HyperParameters()
    hp.values = dict(values)
    try:
        space.declare_hyperparameters(hp)
        model = space.build(hp)
        drawn = Drawn(_asked(hp), _inputs(model), int(model.output_shape[-1]))
    except Exception as error:  # a user's code: whatever it raises is told
        drawn = Drawn(_asked(hp), problem=f"{type(error).__name__}: {error}")
    found.merge(hp, overwrite=False)
    from xraytune.framework import keras

    keras.utils.clear_session()
    return drawn


def _asked(hp: keras_tuner.HyperParameters) -> dict[str, Value]:
    return {p.name: hp.values[p.name] for p in hp.space if hp.is_active(p)}


def _inputs(model: Any) -> tuple[int | None, ...]:
    return tuple(None if length is None else int(length) for length in model.input_shape[1:])


def _main(answer: str) -> None:
    import spaces

    path, name, context = pickle.load(sys.stdin.buffer)  # noqa: S301 - the driver's own
    sys.path[:] = path
    found, drawn = explore(spaces.get(name, context))
    plain = {"found": found.get_config(), "drawn": [one.__dict__ for one in drawn]}
    Path(answer).write_text(json.dumps(plain, default=lambda value: value.item()), encoding="utf-8")


if __name__ == "__main__":
    _main(sys.argv[1])
