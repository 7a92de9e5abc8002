"""Several sites from end to end: a search holds out one a trial, the retraining each once, and the report says it."""

import json
import re

from search.study.view import open_study
from tests.inputs import made_sites
from tests.searching import command

SITES = ["A", "B", "C"]


def test_a_study_of_three_sites_holds_each_out_and_predicts_a_fourth(search, tmp_path):
    data = made_sites.write(tmp_path / "hospitals", made_sites.draw_sites(1, 3), seed=1, patients=24, size=48)
    search.start("--data", str(data), "--validate-on", "site", "--trials", "4", "--concurrency", "1", space="smoke")
    assert search.wait() == 0, search.text
    assert "Each trial is validated on one site: A " in search.text
    trials = open_study("broken", search.results).trials()
    of = {}
    for trial in trials:
        of.setdefault(trial.family, []).append(trial.site)
    assert all(turns == SITES[: len(turns)] for turns in of.values())
    assert len({trial.site for trial in trials}) > 1
    retrained = command(
        "search.retrain", "best", "--study", "broken", "--results", search.results, "--finalists", "2", "--seeds", "1",
        "--refits", "1", "--site-decides", "worst", home=tmp_path,
    )  # fmt: skip
    assert retrained.returncode == 0, retrained.stdout + retrained.stderr
    assert "on 3 sites, each held out once (the worst decides)" in retrained.stdout
    assert "another site (predicted)" in retrained.stdout
    winner = search.results / "broken" / "winner"
    found = json.loads((winner / "metrics.json").read_text())
    assert (found["confirmation"]["folds"], found["confirmation"]["by"]) == (3, "site")
    assert [row["site"] for row in found["sites"]["sites"]] == SITES
    low, high = found["sites"]["new"]["auc"][1:]
    assert 0 <= low < high <= 1
    assert "only 3 sites" in found["sites"]["note"]
    worst = [min(one["values"]) for one in found["confirmation"]["finalists"]]
    assert worst[0] == max(worst)
    page = (winner / "report.html").read_text()
    assert 'id="table-sites"' in page
    assert "Of another site: prediction interval over the sites" in page
    assert (winner / "tables" / "sites.csv").is_file()
    card = (winner / "MODEL_CARD.md").read_text()
    rows = re.findall(r"^\| (.+?) \| *\d* *\| *\d* *\| \d\.\d\d", card, re.MULTILINE)
    assert rows == [*SITES, "another site (95 % prediction interval)"]


def test_one_site_is_refused_before_anything_is_made(tmp_path):
    data = made_sites.write(tmp_path / "hospitals", made_sites.draw_sites(1, 1), seed=1, patients=6, size=32)
    done = command(
        "search.run", "--data", data, "--site", "folders", "--validate-on", "site", "--trials", "1", "--results",
        tmp_path / "results", home=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    assert "of one site (" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "results" / "studies.db").exists()
