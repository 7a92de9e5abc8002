"""xraytune: a search over chest X-ray classifiers.

    import xraytune as xt
    study = xt.search("path/to/chest_xray", time="30m", name="mine")
    final = study.retrain()

The library half of the project: data, models, training and evaluation. It knows nothing of Optuna or Ray and imports
neither `spaces` nor `search`, with one exception: the Python calls (docs/python.md) are those of `search.api`, which is
loaded when one of them is first used. `import xraytune` alone loads neither TensorFlow nor Ray.
"""

import importlib
import os
from typing import Any

__version__ = "0.1.0"

# Set here because TensorFlow reads it once, at its import; a process that imported TensorFlow before keeps its default,
# which is oneDNN only where the processor has instructions made for networks (AVX512-VNNI, AMX …). On one that has AVX2
# alone a step takes 1.3 to 1.6 times as long without. A user's own setting wins.
# https://www.tensorflow.org/install/pip (TF_ENABLE_ONEDNN_OPTS); `make bench ONLY=onednn`
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

# Without it Keras takes the backend that ~/.keras/keras.json names, on every machine another (`framework`).
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

_CALLS = ("Callback", "Evaluation", "Final", "Study", "Verification", "load", "load_study", "search", "verify")
_EVENTS = ("Epoch", "RetrainEnd", "SearchEnd", "TrialEnd", "TrialStart")


def __getattr__(name: str) -> Any:
    """The Python calls, the events of callbacks and the module of errors, loaded when they are used."""
    if name in (*_CALLS, *_EVENTS):
        from search import api

        return getattr(api, name)
    if name == "errors":
        return importlib.import_module("xraytune.errors")
    raise AttributeError(f"module 'xraytune' has no attribute {name!r}")


def __dir__() -> list[str]:
    """What completion offers."""
    return sorted([*globals(), *_CALLS, *_EVENTS, "errors"])
