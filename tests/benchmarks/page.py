"""`make performance`: writes `docs/performance.md` from the newest line of each benchmark.

Lines come from `results/bench.jsonl`, which git does not keep, and from `docs/bench.jsonl`, which it does: there the
lines that the page shows are put, so that the page can be made again where they were not measured.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from tests.benchmarks import harness
from tests.benchmarks.run import collect

PAGE = harness.ROOT / "docs" / "performance.md"
KEPT = harness.ROOT / "docs" / "bench.jsonl"

HEAD = """# Performance

On two CPU cores a search of 30 minutes on 5,232 X-rays ran 30 to 54 trials ([results](results.md)). The environment
takes about 3.1 GB of disk, a trial 1 to 1.6 GB of memory. `data.cold_start` is the first start of a search,
`data.warm_start` every later one, `predict` the use of a saved model.

`make performance` writes this page from the newest line of each benchmark in `docs/bench.jsonl`; do not edit it.
`make bench` measures again (`make bench ONLY=input` only one group); some benchmarks need real images and weights
(`XRAYTUNE_DATA`, `XRAYTUNE_WEIGHTS`).

Both sides of a benchmark run in turn in the same session; each number is the median of its rounds. The ratio is
baseline / xraytune for times and sizes, and xraytune / baseline for rates: above 1, xraytune is better. The smallest
and largest ratio of a single round are in brackets. Times depend on the machine; ratios depend on it less.
"""

NO_GPU = """## On a GPU

Not measured: no GPU was available. The defaults for GPUs (one trial each, all cores) are not measured either.
`make gpu-check` measures images per second of each family, and trials that share a GPU
([cluster.md](cluster.md#one-machine)).
"""


def lines(*paths: Path) -> list[dict[str, Any]]:
    """The newest line of each benchmark that there still is, by name.

    Args:
        paths: files of lines; of two lines measured at the same time the later one counts.

    Raises:
        ValueError: a line of a file is no benchmark's; the message says which.
    """
    found: dict[str, dict[str, Any]] = {}
    for path in paths:
        for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                line = json.loads(text)
                if line["name"] not in found or line["when"] >= found[line["name"]]["when"]:
                    found[line["name"]] = line
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise ValueError(f"{path}, line {number} is no benchmark's: {error}") from None
    known = {b.name for b in collect()}
    return [found[name] for name in sorted(found) if name in known]


def page(measured: list[dict[str, Any]]) -> str:
    """The page in Markdown."""
    benchmarks = {b.name: b for b in collect()}
    parts = [HEAD]
    for group in dict.fromkeys(line["name"].partition(".")[0] for line in measured):
        parts.append(f"## {group}\n")
        parts.append("| benchmark | xraytune | baseline | ratio |\n|---|---|---|---|")
        own = [line for line in measured if line["name"].partition(".")[0] == group]
        for line in own:
            span = "–".join(f"{ratio:.3g}" for ratio in line.get("ratios", ()))
            ratio = f"{line['ratio']:.3g}" + (f" ({span})" if span else "")
            numbers = f"{line['ours']:.4g} {line['unit']} | {line['baseline']:.4g} {line['unit']} | {ratio}"
            parts.append(f"| `{line['name']}` | {numbers} |")
        parts.append("")
        parts += [f"- `{line['name']}`: {benchmarks[line['name']].what}." for line in own]
        parts.append("")
        parts += [f"On {where}.\n" for where in _where(own)]
    present = {line["name"] for line in measured}
    missing = [name for name in sorted(benchmarks) if name not in present and not name.startswith("gpu.")]
    if missing:
        parts.append("## Not measured yet\n\n" + "\n".join(f"- `{n}`: {benchmarks[n].what}." for n in missing) + "\n")
    if not any(re.search(r", \d+ GPUs?, ", line["machine"]) for line in measured):
        parts.append(NO_GPU)
    return "\n".join(parts)


def _where(measured: list[dict[str, Any]]) -> list[str]:
    """The machines, each with how busy it was before and when: `AMD EPYC, 2 cores, load 1.2–1.7 (2026-11-22)`."""
    found: dict[str, list[tuple[float, str]]] = {}
    for line in measured:
        name, _, load = line["machine"].rpartition(", load ")
        found.setdefault(name, []).append((float(load), line["when"][:10]))
    return [
        f"{name}, load {_span([f'{load:.1f}' for load, _ in sorted(seen)])} ({_span(sorted(day for _, day in seen))})"
        for name, seen in found.items()
    ]


def _span(ordered: list[str]) -> str:
    return ordered[0] if ordered[0] == ordered[-1] else f"{ordered[0]} to {ordered[-1]}"


def main() -> int:
    """Write the page and keep its lines; return the exit code."""
    there = [path for path in (KEPT, harness.RESULTS) if path.is_file()]
    if not there:
        print("There is no results/bench.jsonl yet: run make bench first.", file=sys.stderr)
        return 1
    try:
        measured = lines(*there)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    PAGE.write_text(page(measured), encoding="utf-8")
    KEPT.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in measured), encoding="utf-8")
    print(f"Wrote {PAGE.relative_to(harness.ROOT)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
