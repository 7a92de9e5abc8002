"""What networks are does not depend on the user's Keras file or variables."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
HOSTILE = {"image_data_format": "channels_first", "floatx": "float16", "epsilon": 1e-2, "backend": "torch"}
ASK = (
    "import keras; print(keras.config.backend(), keras.config.image_data_format(), keras.config.floatx(), "
    "keras.config.epsilon(), keras.config.max_epochs(), keras.config.max_steps_per_epoch(), "
    "keras.config.dtype_policy().name)"
)


def python(code, home, **environment):
    (home / ".keras").mkdir(exist_ok=True)
    (home / ".keras" / "keras.json").write_text(json.dumps(HOSTILE))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KERAS_")}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**kept, "HOME": str(home), "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
    )  # fmt: skip


def test_keras_is_imported_in_one_place_only():
    for path in sorted(path for folder in ("src", "spaces", "search") for path in (ROOT / folder).rglob("*.py")):
        if path.name == "framework.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert not [name for name in names if name.split(".")[0] == "keras"], f"{path}: {ast.unparse(node)}"


@pytest.mark.parametrize(
    "first",
    [
        "import spaces",
        pytest.param("import xraytune.models", marks=pytest.mark.long),
        pytest.param("import xraytune.inference.classifier, xraytune.framework", marks=pytest.mark.long),
        pytest.param("import xraytune.training.trainer", marks=pytest.mark.long),
    ],
)  # fmt: skip
def test_a_users_keras_file_and_variables_change_no_network(tmp_path, first):
    done = python(f"{first}; {ASK}", tmp_path, KERAS_MAX_EPOCHS="1", KERAS_MAX_STEPS_PER_EPOCH="2")
    assert done.stdout.split() == ["tensorflow", "channels_last", "float32", "1e-07", "None", "None", "float32"], (
        done.stderr
    )


def test_a_network_is_built_channels_last_in_a_home_that_says_otherwise(tmp_path):
    code = (
        "from xraytune.framework import keras\n"
        "import xraytune.models\n"
        "layer = keras.layers.Conv2D(4, 3)\n"
        "print(layer(keras.Input((32, 32, 1))).shape, layer.data_format, layer.compute_dtype)\n"
    )
    assert python(code, tmp_path).stdout.strip() == "(None, 30, 30, 4) channels_last float32"


def test_the_backend_of_the_environment_is_respected(tmp_path):
    pytest.importorskip("jax")
    assert python(f"import xraytune.framework; {ASK}", tmp_path, KERAS_BACKEND="jax").stdout.split()[0] == "jax"


def test_keras_imported_before_with_its_files_backend_is_refused_in_words(tmp_path):
    code = (
        "import sys, types\n"
        "import xraytune, os\n"
        "import keras\n"
        "keras.config.backend = lambda: 'torch'\n"
        "from xraytune.errors import InputError\n"
        "try:\n    import xraytune.framework\n"
        "except InputError as error:\n    print(error)\n"
    )
    said = python(code, tmp_path).stdout
    assert "backend torch" in said
    assert "KERAS_BACKEND" in said
