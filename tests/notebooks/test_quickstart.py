"""notebooks/quickstart.ipynb from its first cell to its last, as a user runs it; what is seen under each cell."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
FIVE_MINUTES = 300.0
BUDGETS = 60.0 + 75.0
"""Seconds that its search and its retraining take by themselves: their time budgets."""

NOISE = re.compile(
    r"oneDNN|absl|cuda|cuInit|TensorFlow binary|\bpid=|ray::|raylet|UserWarning|Traceback|\b[IWEF]\d{4} |\bINFO\b",
    re.IGNORECASE,
)
"""What TensorFlow, absl, Ray and Python's warnings put into a notebook."""

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebook")
    book = nbformat.read(ROOT / "notebooks" / "quickstart.ipynb", as_version=4)
    own = {
        "XRAYTUNE_CACHE": str(folder / "cache"), "PYTHONPATH": str(ROOT),
        "IPYTHONDIR": str(folder / "ipython"), "JUPYTER_RUNTIME_DIR": str(folder / "jupyter"),
    }  # fmt: skip
    begun = time.monotonic()
    client = NotebookClient(book, timeout=800, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    client.execute(env=os.environ | own)
    return book, time.monotonic() - begun


def outputs(book):
    """Source and outputs of each code cell."""
    return [(cell.source, cell.outputs) for cell in book.cells if cell.cell_type == "code"]


def test_it_ends_and_takes_less_than_five_minutes_on_two_free_cores(executed):
    _, seconds = executed
    busy = max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0)))  # other programs take their share of the rest
    assert BUDGETS + (seconds - BUDGETS) / busy < FIVE_MINUTES


def test_no_cell_shows_a_line_of_a_log_or_of_a_table_of_the_command(executed):
    for source, found in outputs(executed[0]):
        for output in found:
            assert output.output_type in {"display_data", "execute_result"}, (source, output)
            assert not NOISE.search(output.data.get("text/plain", "") + output.data.get("text/html", "")), source


def test_progress_is_one_display_that_is_gone_at_the_end(executed):
    for source, found in outputs(executed[0]):
        shown = [output for output in found if output.output_type == "display_data"]
        assert len(shown) <= 1, source
        assert all(output.data["text/plain"] == output.data["text/html"] == "" for output in shown), source
    calls = [found for source, found in outputs(executed[0]) if re.search(r"xt\.(search|verify)|\.retrain", source)]
    assert len(calls) == 3
    assert all(found[0].output_type == "display_data" for found in calls)


def test_results_are_shown_as_tables_and_the_heat_map_as_a_picture(executed):
    results = {
        source: [o for o in found if o.output_type == "execute_result"] for source, found in outputs(executed[0])
    }
    last = {source: found[-1].data for source, found in results.items() if found}
    assert len(last) == len(results) - 1, "every cell but the import shows a result"
    for source, data in last.items():
        if "explain" in source:
            assert "image/png" in data
        elif "params" not in source:
            assert "<table" in data["text/html"], source
    demonstrations = [data for data in last.values() if "DEMONSTRATION, NOT X-RAYS" in data.get("text/html", "")]
    assert len(demonstrations) == 3, "data, study and final model say what they are"
