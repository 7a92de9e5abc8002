"""xraytune: a search over chest X-ray classifiers.

The library half of the project: data, models, training and judgement. It knows nothing of Optuna or Ray and imports
neither `spaces` nor `search`; `docs/architecture.md` draws the house.
"""

import os

__version__ = "0.1.0"

# Set here because TensorFlow reads it once, at its import; a process that imported TensorFlow before keeps its default,
# which is oneDNN only where the processor has instructions made for networks (AVX512-VNNI, AMX …). On one that has AVX2
# alone a step takes 1.3 to 1.6 times as long without. A user's own setting wins.
# https://www.tensorflow.org/install/pip (TF_ENABLE_ONEDNN_OPTS); `make bench ONLY=onednn`
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

# Without it Keras takes the backend that ~/.keras/keras.json names, on every machine another (`framework`).
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
