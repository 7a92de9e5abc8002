"""A KerasTuner HyperModel that declares nothing, searched from the command line as the documentation says."""

from __future__ import annotations

from pathlib import Path

from tests.inputs import made_radiographs
from tests.searching import ROOT, command


def test_the_plain_hypermodel_of_the_documentation_is_searched(search, tmp_path):
    page = (Path(ROOT) / "docs" / "spaces.md").read_text()
    plain = tmp_path / "plain.py"
    plain.write_text(page.split("```python\n")[2].split("```")[0])
    data = made_radiographs.kaggle(tmp_path / "chest_xray", train=24, test=6)
    options = ["--data", str(data), "--max-epochs", "1", "--objective", "clean"]
    search.start(*options, "--trials", "2", space=f"{plain}:Plain")
    assert search.wait() == 0, search.text
    assert "Traceback" not in search.text
    trials = search.trials()
    assert [t["state"] for t in trials] == ["COMPLETE"] * 2
    for trial in trials:
        assert {"blocks", "filters_0", "learning_rate", "image_size"} <= set(trial["config"]["values"])
        assert trial["config"]["values"]["image_size"] == 64

    plain.write_text(plain.read_text().replace('hp.Int("blocks", 1, 3)', 'hp.Int("blocks", 1, 2)'))
    asked = ("best", "--study", search.study, "--results", search.results)
    refused = command("search.retrain", *asked, home=tmp_path)
    assert refused.returncode == 2, refused.stderr
    assert "is not the one that study" in refused.stderr
    assert "Traceback" not in refused.stderr
