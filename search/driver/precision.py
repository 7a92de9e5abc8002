"""What networks compute in: float32, or bfloat16 where that is faster on this machine."""

from __future__ import annotations

from spaces import Space
from xraytune import hardware
from xraytune.errors import InputError
from xraytune.records import StudySpec, Value

BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")
"""Instructions that compute in bfloat16."""

FROM_SECONDS = 600.0
"""TIME from which on `auto` may be bfloat16: shorter searches compare short trainings, and stay exact."""


def decide(
    asked: str, space: Space, seconds: float | None, stored: StudySpec | None = None
) -> tuple[dict[str, tuple[Value, ...]], tuple[str, ...]]:
    """The parameter that holds a space's networks to bfloat16, none for float32, which they have without; and a line.

    `auto` is bfloat16 where the processor has instructions for it. It is float32 where TIME is short, on GPUs, and in
    spaces of the user's own.

    Args:
        asked: float32, bfloat16 or auto.
        space: which precisions it has.
        seconds: TIME, None where the user gave none.
        stored: what a study that is resumed was made with: it keeps its own.

    Raises:
        InputError: the space decides by itself, or the study that is resumed has another precision.
    """
    if asked not in {"auto", "float32", *space.precisions}:
        raise InputError(f"--precision {asked}: this space builds its own networks; set their policy there.")
    if stored is not None:
        [made] = stored.narrowed.get("precision", ("float32",))
        if asked not in {"auto", made} and len(space.precisions) > 1:
            raise InputError(f"--precision {asked}: the networks of study {stored.name!r} compute in {made}.")
        return {}, ()
    long = (seconds or 0) >= FROM_SECONDS and not hardware.gpus()
    if asked == "auto" and "bfloat16" in space.precisions and long and hardware.instructions().intersection(BFLOAT16):
        line = "networks compute in bfloat16, which this processor supports (--precision float32 switches it off)"
        return {"precision": ("bfloat16",)}, (line,)
    return ({"precision": (asked,)} if asked == "bfloat16" else {}), ()
