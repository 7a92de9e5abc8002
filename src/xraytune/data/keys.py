"""Files' keys as one block of bytes, for the processes that help to read files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys in a fixed order: to send and to hold, a third of what a list of strings is."""

    text: bytes
    """All of them, parted by a zero byte, which no path holds."""

    starts: NDArray[np.int64]
    """Where each begins in `text`, and one past its end."""

    @classmethod
    def of(cls, keys: Iterable[str]) -> Keys:
        """These keys."""
        text = ("\0".join(keys) + "\0").encode(errors="surrogateescape")
        ends = np.flatnonzero(np.frombuffer(text, np.uint8) == 0)
        return cls(text, np.concatenate([[0], ends + 1]))

    def __getitem__(self, index: int) -> str:
        start, after = self.starts[index : index + 2].tolist()
        return self.text[start : after - 1].decode(errors="surrogateescape")
