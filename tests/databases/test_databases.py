"""Studies on a real PostgreSQL and MariaDB: searched, shown, retrained; a server that dies, refuses or is away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.dashboard import serve
from search.study.database import PATIENCE, open_database
from search.study.view import open_study
from tests.databases.servers import PASSWORD, QUOTED, Server
from tests.searching import Search, command, counted, kept, told
from xraytune.errors import FatalError

pytestmark = pytest.mark.timeout(1200)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def study(request: pytest.FixtureRequest, tmp_path: Path, server: Server) -> Iterator[Search]:
    """A study that no other test has on that server."""
    one = Search(tmp_path, study=request.node.originalname[5:60])
    yield one
    one.end()
    assert_secret(one.text)


def assert_secret(text: str) -> None:
    """No password, neither as it is nor as it stands in a URL."""
    for secret in (PASSWORD, QUOTED, "S3cret"):
        assert secret not in text


def refused(server: Server, url: str, tmp_path: Path, module: str = "search.leaderboard") -> tuple[str, float]:
    """What a command says of a database that it can't use, and after how many seconds."""
    begun = time.monotonic()
    done = command(module, "--results", tmp_path, "--storage", url, home=tmp_path)
    taken = time.monotonic() - begun
    said = done.stdout + done.stderr
    assert done.returncode in {1, 2}, said
    assert said.count("error: ") == 1, said
    assert "Traceback" not in said
    assert_secret(said)
    return said, taken


def test_a_search_leaves_its_trials_on_the_server_and_goes_on_from_there(study, server):
    assert study.run("--trials", "6", XRAYTUNE_EPOCH_SECONDS="0") == 0, study.text
    first = study.trials()
    assert len(counted(first)) == 6
    assert told(study.text) == kept(first)
    assert f"{server.scheme}://" in study.text  # the commands that are printed name it
    assert study.run("--trials", "9", "--resume", XRAYTUNE_EPOCH_SECONDS="0") == 0, study.text
    after = study.trials()
    assert len(counted(after)) == 9
    assert after[:6] == first
    assert not (study.results / "studies.db").exists()


def test_two_searches_of_one_server_at_once_have_their_own_trials(study, tmp_path, server):
    other = Search(tmp_path, study=f"{study.study}-2")
    for one in (study, other):
        one.start("--trials", "6", "--concurrency", "1", XRAYTUNE_EPOCH_SECONDS="0.1")
    try:
        for one in (study, other):
            assert one.wait() == 0, one.text
            assert [t["number"] for t in counted(one.trials())] == list(range(6))
            assert told(one.text) == kept(one.trials())
    finally:
        other.end()


def test_a_search_whose_server_is_killed_and_comes_back_loses_no_trial(study, server):
    study.start("--trials", "12", "--concurrency", "2", "--pruner", "none", XRAYTUNE_EPOCH_SECONDS="0.2")
    study.until_said(" complete ")
    server.kill()
    time.sleep(6)
    assert study.process is not None
    assert study.process.poll() is None, study.text
    server.start()
    assert study.wait() == 0, study.text
    trials = study.trials()
    assert [t["state"] for t in trials] == ["COMPLETE"] * 12
    assert told(study.text) == kept(trials)
    assert all(sorted(t["curve"]) == ["1", "2", "3", "4"] for t in trials)


def test_a_search_whose_server_stays_away_ends_in_words_and_goes_on_later(study, server):
    study.start("--trials", "8", "--pruner", "none", XRAYTUNE_EPOCH_SECONDS="0.2")
    study.until_said(" complete ")
    server.kill()
    gone = time.monotonic()
    try:
        assert study.wait() == 1, study.text
        assert PATIENCE - 15 < time.monotonic() - gone < PATIENCE + 90
    finally:
        server.start()
    assert study.text.count("error: ") == 1
    assert f"did not answer for {PATIENCE:.0f} s" in study.text
    assert "--resume" in study.text
    assert "Traceback" not in study.text
    before = told(study.text)
    assert study.run("--resume", XRAYTUNE_EPOCH_SECONDS="0") == 0, study.text
    trials = study.trials()
    assert before.items() <= kept(trials).items()
    assert sum(t["state"] == "COMPLETE" for t in trials) == 8


def test_a_study_is_retrained_and_reported(study, server, tmp_path):
    maker = ROOT / "tests/e2e/retraining/made_study.py"
    environment = {**os.environ, "XRAYTUNE_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    if "made" in [s.study_name for s in open_database(tmp_path).get_all_studies()]:
        pytest.fail("another test made it")
    subprocess.run([sys.executable, str(maker), str(tmp_path)], env=environment, check=True, capture_output=True)
    few = ("--folds", "3", "--seeds", "1", "--refits", "1", "--time", "5m", "--workers", "1")
    done = command("search.retrain", "0", "--study", "made", "--results", study.results, *few, home=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Held-out test set" in done.stdout
    assert_secret(done.stdout + done.stderr)
    assert (study.results / "made/winner/metrics.json").exists()
    again = command("search.report", "made", "--results", study.results, home=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    found = [p for p in study.results.rglob("*") if p.is_file()]
    assert not [p for p in found if b"S3cret" in p.read_bytes()]


def test_the_dashboard_shows_its_studies(study, server):
    assert study.run("--trials", "3", XRAYTUNE_EPOCH_SECONDS="0") == 0, study.text
    with serve(study.results, port=0) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        try:
            at = f"http://127.0.0.1:{served.server_port}/api/studies"
            studies = json.load(urllib.request.urlopen(at, timeout=60))["study_summaries"]
            number = {one["study_name"]: one["study_id"] for one in studies}[study.study]
            shown = json.load(urllib.request.urlopen(f"{at}/{number}?after=0", timeout=60))
        finally:
            served.shutdown()
    assert len(shown["trials"]) == 3
    assert_secret(json.dumps(shown))


def test_what_a_study_keeps_is_far_below_what_a_column_takes(study, server, tmp_path):
    """MariaDB's text ends at 64 KiB: what grows with a study's classes, epochs or notes must not lie in one."""
    assert study.run("--trials", "3", XRAYTUNE_EPOCH_SECONDS="0") == 0, study.text
    tables = {
        "study_user_attributes": "value_json", "study_system_attributes": "value_json",
        "trial_user_attributes": "value_json", "trial_system_attributes": "value_json",
        "trial_params": "distribution_json",
    }  # fmt: skip
    for table, column in tables.items():
        longest = server.ask(f"SELECT COALESCE(MAX(LENGTH({column})), 0) FROM {table}")
        assert int(longest) < 8192, f"{table}: {longest}"


def test_text_of_all_scripts_comes_back_as_it_was(study, server):
    assert study.run("--trials", "1", XRAYTUNE_EPOCH_SECONDS="0") == 0, study.text
    database = open_database(study.results)
    number = database.get_study_id_from_name(study.study)
    for text in ("Überblähung", "肺炎 \U0001fac1", "a\x1b[31m\u202e", "' \" \\ % ; --", "x" * 2045):
        database.set_study_user_attr(number, "text", {text: text})
        assert database.get_study_user_attrs(number)["text"] == {text: text}
    assert open_study(study.study, study.results).name == study.study


def test_a_value_that_a_column_can_t_take_is_refused_at_once(study, server):
    assert study.run("--trials", "1", XRAYTUNE_EPOCH_SECONDS="0") == 0, study.text
    database = open_database(study.results)
    number = database.get_study_id_from_name(study.study)
    begun = time.monotonic()
    if server.name == "MariaDB":
        with pytest.raises(FatalError, match=r"refuses a value.*64 KiB"):
            database.set_study_user_attr(number, "text", "x" * 70_000)
    else:
        database.set_study_user_attr(number, "text", "x" * 70_000)
        with pytest.raises(FatalError, match="refuses a value"):
            database.set_study_user_attr(number, "k" * 600, "x")
    assert time.monotonic() - begun < 10
    assert_secret(str(database.what))
    database.set_study_user_attr(number, "text", "it can be used as before")


def test_a_wrong_password_is_said_at_once_and_shown_nowhere(server, tmp_path):
    said, taken = refused(server, server.url("S3cret-but-wrong"), tmp_path)
    assert "password" in said or "denied" in said
    assert taken < 45


def test_a_database_or_a_user_that_is_not_there_is_said_at_once(server, tmp_path):
    for url in (server.url().replace("/studies", "/other"), server.url().replace("searcher", "somebody")):
        _, taken = refused(server, url, tmp_path)
        assert taken < 45


def test_a_server_that_is_not_there_is_said_at_once(server, tmp_path):
    for url in (server.url().replace(str(server.port), "1"), server.url().replace("127.0.0.1", "no.such.host.invalid")):
        said, taken = refused(server, url, tmp_path)
        assert "***" in said
        assert taken < 45


def test_a_user_who_may_not_write_is_told(server, study):
    assert study.run("--trials", "1", XRAYTUNE_EPOCH_SECONDS="0") == 0, study.text
    if server.name == "MariaDB":
        forbid = "REVOKE ALL PRIVILEGES ON studies.* FROM searcher@'127.0.0.1'"
        allow = "GRANT ALL ON studies.* TO searcher@'127.0.0.1'"
        server.ask(forbid)
        forbid = "GRANT SELECT ON studies.* TO searcher@'127.0.0.1'"
    else:
        forbid = "ALTER ROLE searcher SET default_transaction_read_only = on"
        allow = "ALTER ROLE searcher RESET default_transaction_read_only"
    server.ask(forbid)
    try:
        begun = time.monotonic()
        assert study.run("--trials", "2", "--resume", XRAYTUNE_EPOCH_SECONDS="0") == 1, study.text
        assert time.monotonic() - begun < 60
        assert study.text.count("error: ") == 1, study.text
        assert "Traceback" not in study.text
        listed = command("search.leaderboard", study.study, "--results", study.results, home=study.results)
        assert listed.returncode == 0, listed.stderr  # reading needs no more
    finally:
        server.ask(allow)
