"""What networks compute in: float32, or bfloat16 where that is faster on this machine."""

from __future__ import annotations

import spaces
from spaces.narrowing.narrow import MEASURED_FROM
from xraytune import hardware
from xraytune.data import cache
from xraytune.errors import InputError
from xraytune.records import StudySpec, Value
from xraytune.training import speed as measured


def decide(
    asked: str, space: str, seconds: float | None, stored: StudySpec | None = None
) -> tuple[dict[str, tuple[Value, ...]], tuple[str, ...]]:
    """The parameter that holds a space's networks to bfloat16, none for float32, which they have without; and a line.

    `auto` is bfloat16 where a step on this machine's cores is clearly faster in it; float32 where TIME is too short to
    find out, on GPUs, and in spaces of the user's own.

    Args:
        asked: float32, bfloat16 or auto.
        space: the space's name.
        seconds: TIME, None where the user gave none.
        stored: what a study that is resumed was made with: it keeps its own.

    Raises:
        InputError: bfloat16 for a space of the user's own, which decides by itself, or another than the study has.
    """
    if space not in spaces.SPACES:
        if asked == "bfloat16":
            raise InputError(f"--precision {asked}: {space} builds its own networks; set their policy there.")
        return {}, ()
    if stored is not None:
        [made] = stored.narrowed.get("precision", ("float32",))
        if asked not in {"auto", made}:
            raise InputError(f"--precision {asked}: the networks of study {stored.name!r} compute in {made}.")
        return {}, ()
    if asked == "auto" and space != "smoke" and (seconds or 0) >= MEASURED_FROM and not hardware.gpus():
        speed = measured.bfloat16_speed(cache.folder("measured"))
        if speed and speed >= measured.CLEARLY:
            line = f"networks compute in bfloat16, {speed:.2f} times as fast here as float32 (--precision float32)"
            return {"precision": ("bfloat16",)}, (line,)
    return ({"precision": (asked,)} if asked == "bfloat16" else {}), ()
