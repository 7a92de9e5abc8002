"""`--dry-run` shows what the search then does, and `config.yaml` repeats a search."""

from __future__ import annotations

import re

import yaml

from search.study.view import open_study
from tests.inputs import made_radiographs
from tests.searching import command


def test_a_dry_run_leaves_nothing_and_names_the_trials_that_the_search_then_tries(search, tmp_path):
    data = made_radiographs.kaggle(tmp_path / "chest_xray", train=24, test=6)
    path = tmp_path / "study.yaml"
    path.write_text(f"data: {data}\nspace: smoke\nmax_epochs: 1\nresults: {search.results}\nfix: {{batch_size: 16}}\n")
    before = {one.name for one in tmp_path.iterdir()}
    shown = command("search.run", "--config", path, "--trials", 3, "--time", "5m", "--dry-run", home=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert {one.name for one in tmp_path.iterdir()} - before == {"cache"}
    for words in ("Families: dense, cnn.", "Memory: about", "Disk: cache", "at most 3", "no study was made"):
        assert words in shown.stdout, shown.stdout
    begins = r" *\d+  (?:dense|cnn) "
    form = rf"^ *(\d+)  (dense|cnn) +(\S.*?)  +(\S+)\n((?:(?!{begins}|Trials: ).+\n)+)"
    rows = re.findall(form, shown.stdout, re.MULTILINE)
    assert [int(number) for number, *_ in rows] == [0, 1, 2]

    search.start("--config", str(path), "--trials", "3", "--time", "5m", space="smoke")
    assert search.wait() == 0, search.text
    view = open_study(search.study, search.results)
    for (_, family, origin, _, values), trial in list(zip(rows, view.trials(), strict=True))[:2]:
        assert trial.family == family
        assert trial.attributes["origin"] == origin
        wanted = dict(pair.rsplit(" ", 1) for pair in " ".join(values.split()).split(", "))
        found = {name: value for name, value in trial.config.values.items() if name != "family"}
        assert wanted.keys() == found.keys()
        assert all(float(wanted[n]) == float(f"{v:.3g}") for n, v in found.items() if isinstance(v, float))

    kept = search.results / search.study / "config.yaml"
    assert yaml.safe_load(kept.read_text())["trials"] == 3
    again = command("search.run", "--config", kept, "--study", "again", home=tmp_path)
    assert again.returncode == 0, again.stderr
    assert open_study("again", search.results).spec.fixed == view.spec.fixed == {"batch_size": 16}


def test_a_dry_run_of_a_study_that_has_begun_is_refused(tmp_path):
    done = command("search.run", "--study", "mine", "--resume", "--dry-run", home=tmp_path)
    assert done.returncode == 2
    assert "--dry-run shows how a study begins. Leave --resume out" in done.stderr
    assert "Traceback" not in done.stderr
