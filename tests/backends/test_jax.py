"""`make test-jax`, beside the unit tests under JAX: a search's training needs no TensorFlow there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.inputs import made_radiographs
from tests.searching import counted

ROOT = Path(__file__).resolve().parents[2]

BLOCKER = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "tensorflow":
            raise ImportError("tensorflow is blocked")

sys.meta_path.insert(0, Blocked())
"""

TRAIN = (
    BLOCKER
    + """
import tempfile
from pathlib import Path
from tests.inputs.made_networks import config, space, trial_data, write_weights
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
)


def run(code, *arguments, **environment):
    """Python code in a process of its own, under JAX."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT, env=os.environ | {"KERAS_BACKEND": "jax"} | environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_training_under_jax_imports_no_tensorflow():
    done = run(TRAIN)
    assert done.stdout.strip().endswith("trained"), done.stderr[-3000:]


DEVICES = """
import sys, tempfile
from pathlib import Path
import jax
from tests.inputs.made_networks import config, space, trial_data
from xraytune.training.trainer import Trainer

assert len(jax.devices()) == 2, jax.devices()
device = jax.devices()[int(sys.argv[1])]
jax.config.update("jax_default_device", device)
data = trial_data(Path(tempfile.mkdtemp()), n=48, sizes=(28, 48))
smoke = space("smoke")
for family in ("dense", "cnn"):
    training = Trainer(smoke, config(smoke, family=family, augmentation="light"), data, max_epochs=1)
    training.step()
    held = [v.value for v in (*training.model.variables, *training.shell.optimizer.variables)]
    assert len(held) > 4
    found = {one for value in held for one in value.devices()}
    assert found == {device}, (family, found)
    training.finish()
print("trained on", device.id)
"""


@pytest.mark.parametrize("number", [0, 1])
def test_a_trial_trains_on_the_device_it_is_given_alone(number):
    """Two CPU devices stand in for two GPUs of one process."""
    done = run(DEVICES, str(number), XLA_FLAGS="--xla_force_host_platform_device_count=2")
    assert done.stdout.strip().endswith(f"trained on {number}"), done.stderr[-3000:]


FRACTION = """
import os, sys
from search.tuner.worker_process import share_gpu
share_gpu(float(sys.argv[1]))
import jax
print(os.environ.get("XLA_PYTHON_CLIENT_MEM_FRACTION"), os.environ["CUDA_VISIBLE_DEVICES"], jax.devices()[0].platform)
"""


@pytest.mark.parametrize(
    ("share", "said"), [("0.25", "0.225 2 cpu"), ("0.5", "0.450 2 cpu"), ("1", "None 2 cpu"), ("0", "None -1 cpu")]
)
def test_a_worker_takes_its_share_of_a_gpu_less_a_tenth_before_jax_is_imported(share, said):
    """A GPU by name alone: JAX finds none behind it and computes on the CPU."""
    done = run(FRACTION, share, CUDA_VISIBLE_DEVICES="2")
    assert done.stdout.strip() == said, done.stderr[-3000:]


def test_four_trials_share_two_gpus_in_a_search_that_imports_no_tensorflow(search, tmp_path):
    """A whole search under JAX, its workers too, on two GPUs by name alone, which Ray hands out like real ones."""
    blocker = tmp_path / "blocked" / "sitecustomize.py"
    blocker.parent.mkdir()
    blocker.write_text(BLOCKER)
    own = {"KERAS_BACKEND": "jax", "CUDA_VISIBLE_DEVICES": "2,3", "PYTHONPATH": f"{blocker.parent}{os.pathsep}{ROOT}"}
    shares = ("--concurrency", "4", "--gpus-per-trial", "0.5", "--cpus-per-trial", "1")
    data = made_radiographs.kaggle(tmp_path / "data")
    few = ("--data", str(data), "--trials", "4", "--max-epochs", "1", "--pruner", "none", "--fix", "family=dense")
    search.start(*few, *shares, space="smoke", **own)
    assert search.wait() == 0, search.text
    assert "4 trials at once" in search.text
    for trial in counted(search.trials()):
        assert trial["state"] == "COMPLETE"
        assert trial["result"]["versions"]["backend"] == "jax"
