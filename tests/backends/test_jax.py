"""`make test-jax`, beside the unit tests under JAX: a search's training needs no TensorFlow there."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

TRAIN = """
import sys, tempfile
from pathlib import Path

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "tensorflow":
            raise ImportError("tensorflow is blocked")

sys.meta_path.insert(0, Blocked())
from tests.made_networks import config, space, trial_data, write_weights
from xraytune.training.trainer import Training

folder = Path(tempfile.mkdtemp())
weights = {"vgg16": str(write_weights("vgg16", folder / "vgg16_imagenet_notop.weights.h5"))}
data = trial_data(folder, n=48, sizes=(28, 48))
smoke, full = space("smoke"), space(weights=weights)
points = [
    (smoke, config(smoke, family="dense")),
    (smoke, config(smoke, family="cnn", augmentation="light")),
    (full, config(full, family="vgg_frozen", vgg_frozen__image_size=48, vgg_frozen__augmentation_copies=1)),
]
for hypermodel, point in points:
    training = Training(hypermodel, point, data, max_epochs=1)
    training.step()
    result = training.finish()
    assert result.versions["backend"] == "jax"
    training.model.save(folder / "model.keras")
assert not [name for name in sys.modules if name.split(".")[0] == "tensorflow"]
print("trained")
"""


def test_training_under_jax_imports_no_tensorflow():
    done = subprocess.run(
        [sys.executable, "-c", TRAIN],
        cwd=ROOT,
        env=os.environ | {"KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip().endswith("trained"), done.stderr[-3000:]
