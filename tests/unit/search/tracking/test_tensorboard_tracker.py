"""What TensorBoard's own reader finds in the files."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from search.tracking.callbacks import TrialStart
from search.tracking.tensorboard_tracker import TensorBoard
from tests.inputs.made_events import CONFIGS, retrained, session, spec, trial


@pytest.fixture
def written(tmp_path):
    tracker = TensorBoard()
    for event in [*session(tmp_path), retrained(tmp_path)]:
        tracker.tell(event)
    return tmp_path / "tensorboard"


def read(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def scalars(folder):
    found = read(folder)
    return {name: [(e.step, round(e.value, 4)) for e in found.Scalars(name)] for name in found.Tags()["scalars"]}


def hyperparameters(folder):
    from tensorboard.plugins.hparams import metadata

    content = read(folder).SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    found = metadata.parse_session_start_info_plugin_data(content).hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in found.items()}


def status(folder):
    from tensorboard.plugins.hparams import metadata

    content = read(folder).SummaryMetadata("_hparams_/session_end_info").plugin_data.content
    return metadata.parse_session_end_info_plugin_data(content).status


def test_each_trial_is_a_run_with_its_curves_and_hyperparameters(written):
    assert sorted(f.name for f in written.iterdir()) == ["final", "study", "trial-0000", "trial-0001"]
    found = scalars(written / "trial-0000")
    assert found["val_auc"] == [(1, 0.5), (2, 0.6), (3, 0.7)]
    assert found["objective"] == [(1, 0.5), (3, 0.7)]  # where it was measured
    assert found["view_like_NORMAL"] == [(1, 0.5), (2, 0.5), (3, 0.5)]
    assert found["value"] == [(1, 0.7)]
    assert "loss" not in found  # it is not finite
    for number, config in CONFIGS.items():
        assert hyperparameters(written / f"trial-{number:04d}") == config.values
    from tensorboard.plugins.hparams import api_pb2

    assert status(written / "trial-0000") == api_pb2.Status.Value("STATUS_SUCCESS")
    assert status(written / "trial-0001") == api_pb2.Status.Value("STATUS_FAILURE")


def test_the_study_has_the_value_of_each_trial_and_the_final_model_its_metrics(written):
    assert scalars(written / "study") == {"value_by_trial": [(0, 0.7)]}
    assert scalars(written / "final") == {
        "test/auc": [(0, 0.9)],
        "test/auc_low": [(0, 0.8)],
        "test/auc_high": [(0, 0.95)],
    }


def test_a_resumed_study_adds_to_its_run(written, tmp_path):
    resumed = TensorBoard()
    for event in [*trial(tmp_path, 1, [0.8]), list(session(tmp_path))[-1]]:
        resumed.tell(event)
    assert scalars(written / "study")["value_by_trial"] == [(0, 0.7), (1, 0.8)]


def test_a_running_trial_can_be_read(tmp_path):
    tracker = TensorBoard()
    tracker.tell(TrialStart(spec(), tmp_path, 0, CONFIGS[0]))
    assert hyperparameters(tmp_path / "tensorboard" / "trial-0000")["cnn/blocks"] == 3
    tracker.tell(TrialStart(spec(), tmp_path, 1, replace(CONFIGS[0], site="Leeds")))
    assert hyperparameters(tmp_path / "tensorboard" / "trial-0001")["site"] == "Leeds"
    tracker.tell(list(session(tmp_path))[-1])


def test_writing_imports_neither_tensorflow_nor_tensorboard(tmp_path):
    program = """
import sys
from pathlib import Path
from search.tracking.callbacks import Epoch, SearchEnd, TrialEnd, TrialStart
from search.tracking.tensorboard_tracker import TensorBoard
from xraytune.records import EpochReport, TrialConfig
config = TrialConfig("cnn", {"cnn/blocks": 3}, 0)
about = None, Path(sys.argv[1])
tracker = TensorBoard()
tracker.tell(TrialStart(*about, 0, config))
tracker.tell(Epoch(*about, 0, EpochReport(1, 0.5, {"val_auc": 0.5}, {})))
tracker.tell(TrialEnd(*about, 0, config, "FAIL", None, "", ""))
tracker.tell(SearchEnd(*about, "", False, {}, None, None))
loaded = {"tensorflow", "tensorboard", "keras", "torch"} & {name.split(".")[0] for name in sys.modules}
sys.exit(f"loaded: {loaded}" if loaded else 0)
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "tensorboard" / "trial-0000").iterdir())
