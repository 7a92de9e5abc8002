"""Keras as this library needs it: the only place where it is imported, in whatever process.

`~/.keras/keras.json` and Keras's own variables hold defaults that change every network without a word: channels first,
another float type, another epsilon, another backend, fewer epochs. What a network is must not depend on whose home it
is trained in, so all of them are set here. The backend alone is the user's choice, by the variable KERAS_BACKEND: the
package sets it to tensorflow where it is not set, since Keras would ask its file otherwise.

Modules write `from xraytune.framework import keras`.
"""

from __future__ import annotations

import os

import keras
from keras import ops

from xraytune.errors import InputError

__all__ = ["keras", "ops"]

EPSILON = 1e-7
"""Keras's own default."""


def _settle() -> None:
    """Set what networks depend on.

    Raises:
        InputError: Keras runs on another backend than the environment names: it was imported before this library.
    """
    wanted, found = os.environ["KERAS_BACKEND"], keras.config.backend()
    if found != wanted:
        raise InputError(
            f"Keras was imported before xraytune and took the backend {found} from its file keras.json, where xraytune "
            f"uses {wanted}. Import xraytune first, or set the variable KERAS_BACKEND before Python starts."
        )
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(EPSILON)
    keras.config.set_max_epochs(None)
    keras.config.set_max_steps_per_epoch(None)


_settle()
