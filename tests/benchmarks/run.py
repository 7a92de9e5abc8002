"""`make bench [ONLY=name]`: run the benchmarks, print them, append each to `results/bench.jsonl`.

Every `bench_*.py` beside and below this file has a function `benchmarks()` that returns `harness.Benchmark`s. `ONLY` is
a name or the beginning of one (`data`, `data.cold_start`). Ends with 1 if one failed or none was run.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks import harness


def collect(only: str = "") -> list[harness.Benchmark]:
    """All benchmarks whose names begin with `only`, by name."""
    found: list[harness.Benchmark] = []
    root = Path(__file__).parents[2]
    for path in sorted(root.glob("tests/benchmarks/**/bench_*.py")):
        found += importlib.import_module(".".join(path.relative_to(root).with_suffix("").parts)).benchmarks()
    return sorted((b for b in found if b.name.startswith(only)), key=lambda b: b.name)


def main(only: str = "", *, keep: bool = True) -> int:
    """Run what is asked for; return the exit code.

    Args:
        only: what names begin with.
        keep: whether lines are appended to `results/bench.jsonl`.
    """
    console = Console()
    chosen = collect(only)
    if not chosen:
        console.print(f"No benchmark is called {only!r}. There are: {', '.join(b.name for b in collect())}.")
        return 1
    table = Table(
        "name", "ours", "baseline", "unit", "ratio", "wanted", "what", title="Benchmarks (ratio above 1: ours)"
    )
    run, failed = 0, 0
    for benchmark in chosen:
        try:
            line = harness.measure(benchmark, lambda text: console.print(f"[dim]{text}[/]"))
        except harness.UnavailableError as missing:
            console.print(f"{benchmark.name}: left out, {missing}.")
            continue
        except Exception as error:
            console.print(f"[red]{benchmark.name} failed:[/] {error}", markup=True)
            failed += 1
            continue
        if keep:
            harness.append(line)
        run += 1
        wanted = "" if benchmark.target is None else f"≥ {benchmark.target:.2g}"
        ratio = f"{line['ratio']:.3g} ({line['ratios'][0]:.3g}–{line['ratios'][1]:.3g})"
        numbers = f"{line['ours']:.4g}", f"{line['baseline']:.4g}", line["unit"], ratio
        table.add_row(benchmark.name, *numbers, wanted, benchmark.what)
    if run:
        console.print(table)
    if run and keep:
        console.print(f"Appended to {harness.RESULTS.relative_to(harness.ROOT)}.")
    return 1 if failed or not run else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
