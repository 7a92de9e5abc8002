"""A benchmark's line: ratio above 1 means ours is better, whichever way its unit points."""

import json

import pytest

from tests.benchmarks import harness, page, run
from tests.benchmarks.harness import Benchmark, UnavailableError
from xraytune import hardware


def made(name="made.up", better="lower", ours=2.0, theirs=4.0, **options):
    return Benchmark(name, "s", better, lambda: ours, lambda: theirs, "nothing", **options)


@pytest.mark.parametrize(("better", "ratio"), [("lower", 2.0), ("higher", 0.5)])
def test_ratio_above_one_is_better_for_times_and_for_rates(better, ratio):
    line = harness.measure(made(better=better), lambda text: None)
    assert line["ratio"] == ratio
    assert set(line) == {"name", "ours", "baseline", "unit", "ratio", "ratios", "better", "machine", "when"}


def test_both_sides_run_in_turn_and_the_median_counts():
    order, values = [], iter([5.0, 1.0, 3.0])

    def ours():
        order.append("ours")
        return next(values)

    def baseline():
        order.append("baseline")
        return 6.0

    line = harness.measure(Benchmark("x.y", "s", "lower", ours, baseline, ""), lambda text: None)
    assert order == ["ours", "baseline"] * 3
    assert line["ours"] == 3.0
    assert (line["ratio"], line["ratios"]) == (2.0, [1.2, 6.0])


def test_results_are_appended_and_a_missing_need_is_no_failure_of_others(tmp_path, monkeypatch, capsys):
    def missing():
        raise UnavailableError("needs a moon")

    lacking = Benchmark("b.lacking", "s", "lower", missing, missing, "")
    monkeypatch.setattr(harness, "RESULTS", harness.ROOT / "results" / "bench.jsonl")
    written = []
    monkeypatch.setattr(harness, "append", written.append)
    monkeypatch.setattr(run, "collect", lambda only="": [made("a.first"), lacking])
    assert run.main() == 0
    assert [line["name"] for line in written] == ["a.first"]
    assert "needs a moon" in capsys.readouterr().out


def test_append_writes_one_line_of_json(tmp_path, monkeypatch):
    monkeypatch.setattr(harness, "RESULTS", tmp_path / "results" / "bench.jsonl")
    harness.append({"name": "a"})
    harness.append({"name": "b"})
    lines = (tmp_path / "results" / "bench.jsonl").read_text().splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["a", "b"]


@pytest.mark.parametrize(("gpus", "says"), [(0, "cores, load"), (1, "cores, 1 GPU, load"), (8, "cores, 8 GPUs, load")])
def test_the_machine_s_gpus_are_told(monkeypatch, gpus, says):
    monkeypatch.setattr(hardware, "gpus", lambda: gpus)
    assert says in harness.machine()


def test_the_bootstrap_is_judged_by_the_seconds_that_it_may_take():
    (bootstrap,) = (b for b in run.collect("predict.bootstrap") if b.name == "predict.bootstrap")
    assert (bootstrap.target, bootstrap.baseline()) == (1.0, 2.0)


def test_an_unknown_name_is_answered_with_those_that_exist(capsys):
    assert run.main("no.such") == 1
    assert "data.cold_start" in capsys.readouterr().out


def test_the_page_shows_the_newest_line_of_what_there_is_and_names_what_is_missing(tmp_path, monkeypatch, capsys):
    same = {"name": "a.one", "ours": 2.0, "unit": "s", "better": "lower", "machine": "CPU, 2 cores, load 0.5"}
    same |= {"when": "2026-01-01T00:00"}
    old, new = same | {"baseline": 3.0, "ratio": 1.5}, same | {"baseline": 8.0, "ratio": 4.0, "ratios": [3.5, 4.2]}
    results = tmp_path / "bench.jsonl"
    results.write_text("\n".join(json.dumps(line) for line in (old, new, new | {"name": "a.gone"})) + "\n")
    monkeypatch.setattr(harness, "RESULTS", results)
    monkeypatch.setattr(page, "PAGE", tmp_path / "performance.md")
    monkeypatch.setattr(page, "KEPT", tmp_path / "kept.jsonl")
    monkeypatch.setattr(harness, "ROOT", tmp_path)
    monkeypatch.setattr(page, "collect", lambda: [made("a.one", target=5.0), made("b.two")])
    assert page.main() == 0
    text = (tmp_path / "performance.md").read_text()
    assert "| `a.one` | 2 s | 8 s | 4 (3.5–4.2) |" in text
    assert "On CPU, 2 cores, load 0.5 (2026-01-01)." in text
    assert "a.gone" not in text
    assert "## Not measured yet\n\n- `b.two`" in text
    assert "no GPU was available" in text
    with results.open("a") as file:
        file.write(json.dumps(new | {"machine": "CPU, 2 cores, 1 GPU, load 0.1"}) + "\n")
    assert page.main() == 0
    assert "no GPU was available" not in (tmp_path / "performance.md").read_text()
    results.write_text("torn")
    assert page.main() == 1
    assert "line 1 is no benchmark's" in capsys.readouterr().err


def test_the_page_of_a_clone_that_measured_one_benchmark_keeps_the_others(tmp_path, monkeypatch):
    def line(name, ratio, when):
        numbers = {"ours": 1.0, "baseline": ratio, "ratio": ratio, "unit": "s", "better": "lower"}
        return json.dumps({"name": name, **numbers, "machine": "CPU, 2 cores, load 0.5", "when": when}) + "\n"

    kept, measured = tmp_path / "kept.jsonl", tmp_path / "bench.jsonl"
    kept.write_text(line("a.one", 2.0, "2026-01-02") + line("b.two", 3.0, "2026-01-01"))
    measured.write_text(line("a.one", 9.0, "2026-01-01") + line("b.two", 4.0, "2026-01-03"))
    monkeypatch.setattr(harness, "RESULTS", measured)
    monkeypatch.setattr(harness, "ROOT", tmp_path)
    monkeypatch.setattr(page, "PAGE", tmp_path / "performance.md")
    monkeypatch.setattr(page, "KEPT", kept)
    monkeypatch.setattr(page, "collect", lambda: [made("a.one"), made("b.two")])
    assert page.main() == 0
    text = (tmp_path / "performance.md").read_text()
    assert "| `a.one` | 1 s | 2 s | 2 |" in text
    assert "| `b.two` | 1 s | 4 s | 4 |" in text
    measured.unlink()
    assert page.main() == 0
    assert (tmp_path / "performance.md").read_text() == text


def test_the_page_in_the_documentation_is_what_its_kept_lines_make():
    assert page.page(page.lines(page.KEPT)) == page.PAGE.read_text(encoding="utf-8")
