"""Studies on a real PostgreSQL and MariaDB, written and read; servers that refuse, die or are not there."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from search.dashboard import serve
from search.reporting.dashboard_pages import DashboardPages
from search.study import create
from search.study import lock as locks
from search.study.database import PatientStorage
from search.study.study import Study
from search.study.view import open_study
from tests.databases.servers import PASSWORD, Server, assert_secret
from tests.inputs.made_studies import SPACE, report, result, spec
from tests.searching import command
from xraytune.errors import FatalError

pytestmark = [
    # what this process opened is closed when it ends
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"),
    pytest.mark.timeout(600),
]

CLASSES = tuple(f"a finding with a long name, the {number}th" for number in range(14))
EPOCHS = 120


@pytest.fixture
def open_one(request: pytest.FixtureRequest, tmp_path: Path, server: Server) -> Iterator[Callable[[], Study]]:
    """Opens a study that no other test has on that server; the second time, the same one."""
    opened: list[Study] = []

    def one() -> Study:
        name = request.node.originalname[5:60]
        asked = spec(name, classes=CLASSES, data="d" * 200)
        pages = DashboardPages((f"Data: {', '.join(CLASSES)}.",), 24, 240.0)
        lock = locks.StudyLock(tmp_path, name)
        opened.append(create.create(asked, SPACE.declare_hyperparameters, lock, resume=bool(opened), pages=pages))
        return opened[-1]

    yield one
    for study in opened:
        study.close()


def train(study: Study, value: float, epochs: int = EPOCHS) -> int:
    """One trial to its end; its number."""
    number = study.ask().number
    for epoch in range(1, epochs + 1):
        study.report(number, report(epoch, value * epoch / epochs))
    study.complete(number, result(value, epochs=epochs))
    return number


def storage_of(study: Study) -> tuple[PatientStorage, int]:
    """Its storage and its id there."""
    storage = study._storage
    assert isinstance(storage, PatientStorage)
    return storage, study._study._study_id


def refused(url: str, tmp_path: Path) -> str:
    """What a command says of a database that it can't use, and does not wait for."""
    done = command("search.leaderboard", "--results", tmp_path, "--storage", url, home=tmp_path)
    said = done.stdout + done.stderr
    assert done.returncode in {1, 2}, said
    assert said.count("error: ") == 1, said
    assert "Traceback" not in said
    assert "did not answer for" not in said
    assert_secret(said)
    return said


def test_a_study_is_written_read_and_gone_on_with(open_one, tmp_path, server):
    study = open_one()
    study.begin(1.0)
    train(study, 0.5)
    cut = study.ask()
    study.close()
    again = open_one()
    assert train(again, 0.7) == 2  # the one that was cut off is tried again first
    view = open_study(again.spec.name, tmp_path)
    assert [(t.state, t.value) for t in view.trials()] == [("COMPLETE", 0.5), ("FAIL", None), ("COMPLETE", 0.7)]
    assert view.trial(2).params == cut.config.values
    assert len(view.trial(2).curve) == EPOCHS
    assert view.best().number == 2
    assert not (tmp_path / "studies.db").exists()


def test_nothing_that_a_study_records_while_its_server_is_away_is_lost_or_doubled(open_one, tmp_path, server):
    study = open_one()
    for number in range(6):
        back = threading.Timer(2, server.start)
        if number in {1, 3}:
            server.kill()
            back.start()
        train(study, 0.1 * number, epochs=5)
        if number in {1, 3}:
            back.join()
    trials = open_study(study.spec.name, tmp_path).trials()
    assert [(t.number, t.state, t.value) for t in trials] == [(n, "COMPLETE", 0.1 * n) for n in range(6)]
    assert [len(t.curve) for t in trials] == [5] * 6


def test_the_dashboard_shows_its_studies(open_one, tmp_path, server):
    study = open_one()
    train(study, 0.5)
    with serve(tmp_path, port=0) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        try:
            at = f"http://127.0.0.1:{served.server_port}/api/studies"
            studies = json.load(urllib.request.urlopen(at, timeout=60))["study_summaries"]
            number = {one["study_name"]: one["study_id"] for one in studies}[study.spec.name]
            shown = json.load(urllib.request.urlopen(f"{at}/{number}?after=0", timeout=60))
        finally:
            served.shutdown()
    assert len(shown["trials"]) == 1
    assert CLASSES[0] in json.dumps(shown)
    assert_secret(json.dumps(shown))


def test_what_a_study_keeps_is_far_below_what_a_column_takes(open_one, server):
    """MariaDB's text ends at 64 KiB: what grows with a study's classes, epochs or notes must not lie in one."""
    study = open_one()
    for session in range(20):
        study.begin(float(session), concurrency=4, address=None)
    train(study, 0.5)
    study.describe("all is done")
    tables = {
        "study_user_attributes": "value_json", "study_system_attributes": "value_json",
        "trial_user_attributes": "value_json", "trial_system_attributes": "value_json",
        "trial_params": "distribution_json",
    }  # fmt: skip
    for table, column in tables.items():
        longest = server.ask(f"SELECT COALESCE(MAX(LENGTH({column})), 0) FROM {table}")
        assert 0 < int(longest) < 8192, f"{table}: {longest}"


def test_text_of_all_scripts_comes_back_as_it_was(open_one, server):
    database, number = storage_of(open_one())
    for text in ("Überblähung", "肺炎 \U0001fac1", "a\x1b[31m\u202e", "' \" \\ % ; --", "x" * 2045):
        database.set_study_user_attr(number, "text", {text: text})
        assert database.get_study_user_attrs(number)["text"] == {text: text}


def test_a_value_that_a_column_can_t_take_is_refused_at_once_and_what_fits_is_taken(open_one, server):
    database, number = storage_of(open_one())
    begun = time.monotonic()
    if server.name == "MariaDB":
        with pytest.raises(FatalError, match=r"refuses a value.*64 KiB"):
            database.set_study_user_attr(number, "text", "x" * 70_000)
    else:
        database.set_study_user_attr(number, "text", "x" * 70_000)
        with pytest.raises(FatalError, match="refuses a value"):
            database.set_study_user_attr(number, "k" * 600, "x")
    assert time.monotonic() - begun < 10
    database.set_study_user_attr(number, "text", "as before")
    assert database.get_study_user_attrs(number)["text"] == "as before"


@pytest.fixture
def read_only_user(server: Server) -> Iterator[None]:
    """The user may read alone, as its administrator decides in the middle of a search."""
    if server.name == "MariaDB":
        forbid = ["REVOKE ALL PRIVILEGES ON studies.* FROM searcher@'127.0.0.1'"]
        forbid += ["GRANT SELECT ON studies.* TO searcher@'127.0.0.1'"]
        allow = ["GRANT ALL ON studies.* TO searcher@'127.0.0.1'"]
    else:
        forbid = ["REVOKE INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public FROM searcher"]
        allow = ["GRANT ALL ON ALL TABLES IN SCHEMA public TO searcher"]

    def may_read_alone() -> None:
        for statement in forbid:
            server.ask(statement)
        server.kill()  # MariaDB asks again when a connection is made
        server.start()

    yield may_read_alone  # type: ignore[misc]
    for statement in allow:
        server.ask(statement)


def test_a_user_who_may_no_longer_write_is_told_at_once_and_still_reads(open_one, read_only_user, tmp_path, server):
    study = open_one()
    train(study, 0.5)
    read_only_user()
    begun = time.monotonic()
    with pytest.raises(FatalError, match="denied") as raised:
        study.ask()
    assert time.monotonic() - begun < 10
    assert_secret(str(raised.value))
    assert "with --resume" in str(raised.value)
    assert [t.value for t in open_study(study.spec.name, tmp_path).trials()] == [0.5]


def test_leaderboard_and_its_next_commands_name_the_server_without_its_password(open_one, tmp_path, server):
    study = open_one()
    train(study, 0.5)
    done = command("search.leaderboard", study.spec.name, "--results", tmp_path, home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "0.500" in done.stdout
    assert_secret(done.stdout + done.stderr)
    assert PASSWORD not in " ".join(p.read_text(errors="replace") for p in tmp_path.rglob("*") if p.is_file())


def test_a_wrong_password_is_said_at_once_and_shown_nowhere(server, tmp_path):
    said = refused(server.url("S3cret-but-wrong"), tmp_path)
    assert "password" in said or "denied" in said


def test_a_database_or_a_user_that_is_not_there_is_said_at_once(server, tmp_path):
    for url in (server.url().replace("/studies", "/other"), server.url().replace("searcher", "somebody")):
        refused(url, tmp_path)


def test_a_server_that_is_not_there_is_said_at_once(server, tmp_path):
    for url in (server.url().replace(str(server.port), "1"), server.url().replace("127.0.0.1", "no.such.host.invalid")):
        assert "***" in refused(url, tmp_path)
