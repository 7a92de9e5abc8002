"""The tables of the report: each defined once, shown in the page and written as CSV beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.reporting.formats import number
from search.study.access_log import FIGURES
from xraytune import artifacts
from xraytune.evaluation import evaluate, predictive_values
from xraytune.evaluation.evaluate import NAMES

TRIVIAL = "the trivial answer"
"""What comparisons call it."""

SPLITS = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class Column:
    """One column: what its cells are decides how they are shown and into how many columns of a CSV they go."""

    title: str
    kind: str = "text"
    """text, number, signed, count, interval (value, low, high), difference (the same, signed) or p."""
    digits: int = 3


@dataclass(frozen=True)
class Table:
    """A table with its caption; cells are plain values, None where there is none."""

    name: str
    """Of its CSV and its anchor."""
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]
    used: int | None = None
    """Which row is marked as the one in use."""

    @property
    def width(self) -> float:
        """How much room it takes, about, in columns of plain numbers: the page stacks what is wider than its room."""
        return sum({"interval": 2.0, "difference": 2.0, "text": 1.5}.get(c.kind, 1.0) for c in self.columns)

    def write(self, folder: Path) -> None:
        """Write `NAME.csv` with every digit; an interval takes three columns."""
        header: list[str] = []
        for column in self.columns:
            ends = [f"{column.title} low", f"{column.title} high"] if self._wide(column) else []
            header += [column.title, *ends]
        rows = []
        for row in self.rows:
            cells: list[Any] = []
            for column, value in zip(self.columns, row, strict=True):
                wide = self._wide(column)
                cells += (list(value) if value is not None else [None] * 3) if wide else [value]
            rows.append(cells)
        artifacts.write_csv(folder / f"{self.name}.csv", header, rows)

    @staticmethod
    def _wide(column: Column) -> bool:
        return column.kind in {"interval", "difference"}


def images(card: Mapping[str, Any], classes: Sequence[str]) -> Table:
    """Images by split and class, and patients by split."""
    rows = [
        [SPLITS[split], *(counts[c] for c in classes), sum(counts.values()), card["patients"][split]]
        for split, counts in card["counts"].items()
    ]
    columns = [Column("split"), *(Column(c, "count") for c in classes), Column("all", "count")]
    return Table("images", "Images by split and class", [*columns, Column("patients", "count")], rows)


def metrics(figures: Mapping[str, Any]) -> Table:
    """Every overall figure on the test set, cross-validated, and of the trivial answer."""
    test = figures["test"]
    rows = [
        [words, test["overall"][name], figures["validation"]["overall"][name][0], test["trivial"].get(name)]
        for name, words in evaluate.named(test["beta"]).items()
    ]
    columns = [
        Column("metric"), Column("test", "interval"), Column("cross-validated (out-of-fold)", "number"),
        Column(f"always {test['trivial']['answer']}", "number"),
    ]  # fmt: skip
    return Table("metrics", "Metrics with 95 % intervals", columns, rows)


def confusion(test: Mapping[str, Any]) -> Table:
    """Images by true and predicted class."""
    rows = [[c, *counts] for c, counts in zip(test["classes"], test["confusion"], strict=True)]
    columns = [Column("true class"), *(Column(f"predicted {c}", "count") for c in test["classes"])]
    return Table("confusion", "Confusion matrix of the test images", columns, rows)


def by_class(test: Mapping[str, Any]) -> Table:
    """Precision, recall and F1 of each class and their averages; of three and more also each against the rest."""
    shown = {"precision": "precision", "recall": "recall", "f1": "F1"}
    if len(test["classes"]) > 2:
        shown |= {"specificity": "specificity", "auc": "AUC against the rest"}
    rows: list[list[Any]] = [[c, row["support"], *(row[n] for n in shown)] for c, row in test["by_class"].items()]
    rows += [
        [f"{kind} average", test["images"], *(test["averages"].get(f"{kind}/{n}") for n in shown)]
        for kind in ("macro", "weighted")
    ]
    columns = [Column("class"), Column("images", "count"), *(Column(words, "interval", 2) for words in shown.values())]
    return Table("by_class", "By class", columns, rows)


def each_class(test: Mapping[str, Any]) -> Table:
    """Every figure of each class against the rest, and the averages."""
    rows = [
        [
            words,
            *(row[name] for row in test["by_class"].values()),
            *(test["averages"].get(f"{kind}/{name}") for kind in ("macro", "weighted")),
        ]
        for name, words in evaluate.BY_CLASS.items()
    ]
    titles = [*test["by_class"], "macro average", "weighted average"]
    columns = [Column("metric"), *(Column(title, "interval") for title in titles)]
    return Table("each_class", "Each class against the rest", columns, rows)


def predictive(figures: Mapping[str, Any], prevalences: Mapping[str, float]) -> Table | None:
    """Predictive values at some prevalences; None where sensitivity or specificity is undefined.

    Args:
        figures: of `metrics.json`.
        prevalences: by what they are.
    """
    overall = figures["test"]["overall"]
    ratios = predictive_values.likelihood_ratios(overall["sensitivity"], overall["specificity"])
    if ratios is None:
        return None
    rows = [
        [words, f"{100 * prevalence:.3g} %", *predictive_values.predictive_values(ratios, prevalence)]
        for words, prevalence in prevalences.items()
    ]
    columns = [Column("population"), Column("prevalence"), Column("PPV", "interval"), Column("NPV", "interval")]
    return Table("predictive_values", "Predictive values by prevalence", columns, rows)


def reliability(test: Mapping[str, Any]) -> Table:
    """The bins of the reliability curve."""
    columns = [Column("images", "count"), Column("mean probability", "number"), Column("observed share", "number")]
    rows = [[int(r["n"]), r["predicted"], r["observed"]] for r in test["reliability"]]
    return Table("reliability", "Bins of the reliability curve", columns, rows)


def policies(figures: Mapping[str, Any]) -> Table:
    """Every threshold policy with its rule, what cross-validation says of it, and its figures on the test set."""
    beta = figures["test"]["beta"]
    judged = {1: "f1", 2: "f2"}.get(beta, "f_beta")
    rows = [
        [
            f"{row['name']}{' (used)' if row['used'] else ''}", rule(row["name"], beta), row["threshold"],
            f"{row['evidence']:.3f} ± {number(row['error'])}", row["sensitivity"], row["specificity"],
            *(_triple(row["test"].get(name)) for name in ("sensitivity", "specificity", judged)),
        ]
        for row in figures["policies"]
    ]  # fmt: skip
    columns = [
        Column("policy"), Column("rule"), Column("threshold", "number"), Column("robust score ± s.e."),
        Column("cross-validated sensitivity", "number", 2), Column("cross-validated specificity", "number", 2),
        Column("test sensitivity", "interval", 2), Column("test specificity", "interval", 2),
        Column(f"test F{beta:g}", "interval", 2),
    ]  # fmt: skip
    used = next((i for i, row in enumerate(figures["policies"]) if row["used"]), None)
    return Table("policies", "Threshold policies", columns, rows, used)


def referral(figures: Mapping[str, Any]) -> Table | None:
    """What the referral does cross-validated (out-of-fold) and on the test set; None where there is none."""
    found = figures.get("referral")
    if not found or not found["pair"]:
        return None
    asked, own, test = found["asked"], found["out_of_fold"], found["test"]
    rows = [[words, asked.get(name), own.get(name), test[name]] for name, words in REFERRAL.items()]
    columns = [
        Column("figure"), Column("guaranteed", "number", 2), Column("out-of-fold", "number"), Column("test", "interval")
    ]  # fmt: skip
    return Table("referral", "Referral", columns, rows)


REFERRAL = {
    "sensitivity": "sensitivity among answered",
    "specificity": "specificity among answered",
    "referred": "share referred",
    "referred_positive": "share of positive images referred",
    "referred_negative": "share of negative images referred",
    "missed": "share of positive images answered and missed",
}
"""What a referral is judged by."""


def rule(policy: str, beta: float) -> str:
    """A threshold policy in one line."""
    kind, _, value = policy.partition(":")
    rules = {
        "f-beta": f"highest F{beta:g}",
        "youden": "highest sensitivity + specificity",
        "shared": f"highest F{beta:g} over all shifted views",
        "plateau": f"highest threshold whose F{beta:g} over the views is within one s.e. of the best",
        "plateau_middle": "the middle between the lowest and the highest such threshold",
        "sensitivity": f"sensitivity of at least {value}",
    }
    return rules.get(kind, "fixed")


def subgroups(figures: Mapping[str, Any]) -> Table:
    """Each subgroup, by variable and in the order of the values."""
    empty = [None, None, None]
    rows = [
        [
            f"{row['column']}: {row['value']}", row["images"], row["sensitivity"], row["specificity"], row["auc"],
            row.get("figure", "accuracy"), row.get("difference", empty),
        ]
        for row in ordered_subgroups(figures)
    ]  # fmt: skip
    columns = [
        Column("subgroup"), Column("images", "count"), Column("sensitivity", "interval", 2),
        Column("specificity", "interval", 2), Column("ROC AUC", "interval", 2), Column("compared by"),
        Column("difference from the rest", "difference"),
    ]  # fmt: skip
    return Table("subgroups", "Subgroups of the test images", columns, rows)


def ordered_subgroups(figures: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The subgroups of a variable together, in the order of their values: `up to`, then ranges, then `over`."""

    def place(row: Mapping[str, Any]) -> tuple[str, int, str]:
        value = str(row["value"])
        rank = 0 if value.startswith("up to ") else 2 if value.startswith("over ") and " to " not in value else 1
        return row["column"], rank, value

    return sorted(figures["subgroups"], key=place)


def sites(figures: Mapping[str, Any]) -> Table:
    """Each held-out site beside what the other sites predicted, and a site that is not there."""
    found, test = figures["sites"], figures["test"]
    shown = {"auc": "ROC AUC", "sensitivity": "sensitivity", "specificity": "specificity"}
    rows = []
    for row in found["sites"]:
        cells: list[Any] = [row["site"], row["images"], row["patients"]]
        for name in shown:
            cells += [row[name], row["away"][name]]
        rows.append(cells)
    if found["new"] is not None:
        rows.append(["another site (predicted)", None, None, *(c for n in shown for c in (found["new"][n], None))])
    columns = [Column("held-out site"), Column("images", "count"), Column("patients", "count")]
    for words in shown.values():
        columns += [Column(words, "interval", 2), Column(f"{words} minus the others", "signed", 2)]
    average = "" if test["positive"] is not None else " (averages over the classes)"
    return Table("sites", f"By site, predicted by networks that were not trained on it{average}", columns, rows)


def families(rows: Sequence[Mapping[str, Any]], clock: Any) -> Table:
    """Trials by family."""
    cells = [
        [r["family"], r["best"], *(r["states"][state] for state in ("COMPLETE", "PRUNED", "FAIL")), clock(r["seconds"])]
        for r in rows
    ]
    columns = [
        Column("family"), Column("best score", "number"), Column("complete", "count"), Column("pruned", "count"),
        Column("failed", "count"), Column("time"),
    ]  # fmt: skip
    return Table("families", "Trials by family", columns, cells)


def finalists(figures: Mapping[str, Any]) -> Table:
    """The finalists after their folds."""
    confirmation = figures["confirmation"]
    rows = [
        [
            c["trial"], c["family"], c["searched"], f"{c['confirmed']:.3f} ± {c['standard_error']:.3f}", c["clean"],
            c["robust"], c["auc"], c["epochs"], confirmation["weights"].get(str(c["trial"])),
        ]
        for c in confirmation["finalists"]
    ]  # fmt: skip
    columns = [
        Column("trial", "count"), Column("family"), Column("in the search", "number"), Column("on folds ± s.e."),
        Column(f"clean F{figures['test']['beta']:g}", "number"), Column("robust score", "number"),
        Column("ROC AUC", "number"), Column("epochs", "count"), Column("weight", "number", 2),
    ]  # fmt: skip
    used = [c["trial"] for c in confirmation["finalists"]].index(confirmation["winner"])
    return Table("finalists", "Finalists on held-out folds", columns, rows, used)


def views(figures: Mapping[str, Any]) -> Table:
    """F-beta of each finalist under each view; the last row names its worst view."""
    found = figures["confirmation"]["finalists"]
    rows: list[list[Any]] = [[name, *(c["by_view"].get(name) for c in found)] for name in found[0]["by_view"]]
    worst = [min((value or 0.0, name) for name, value in c["by_view"].items())[1] for c in found if c["by_view"]]
    if rows:
        rows.append(["worst view", *worst])
    columns = [Column("view"), *(Column(f"trial {c['trial']}", "number") for c in found)]
    return Table("views", f"F{figures['test']['beta']:g} of the finalists by view", columns, rows)


def hyperparameters(model: Mapping[str, Any]) -> Table:
    """The hyperparameters of the final model, a column for each trial in it."""
    own = [{name.rpartition("/")[2]: v for name, v in c["values"].items()} for c in model["configurations"]]
    names = list(dict.fromkeys(name for values in own for name in values))
    rows = [[name.replace("_", " "), *(_plain(values.get(name)) for values in own)] for name in names]
    titles = [f"trial {number}" for number, _ in zip(model["trials"], own, strict=False)]
    return Table("hyperparameters", "Hyperparameters of the final model", [Column(t) for t in ("name", *titles)], rows)


def _plain(value: Any) -> str:
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def compared(figures: Mapping[str, Any], where: str, caption: str) -> Table:
    """The final model against others on the same images: their figures, and its difference from them.

    Args:
        figures: of `metrics.json`.
        where: test, out_of_fold or recipes.
        caption: of the table.
    """
    beta = figures["test"]["beta"]
    named = {"f_beta": f"F{beta:g}", "sensitivity": "sensitivity", "specificity": "specificity", "auc": "ROC AUC"}
    rows = []
    for row in figures["comparisons"][where]:
        own, found = row["figures"] or {}, row["difference"] or {}
        differences = [found.get(name) for name in named]
        other = _other(row, figures["test"]["trivial"]["answer"])
        rows.append([other, *(own.get(name) for name in named), *differences, row["delong_p"]])
    columns = [
        Column("compared with"), *(Column(f"its {words}", "number") for words in named.values()),
        *(Column(f"{words} difference", "difference") for words in named.values()), Column("DeLong p", "p"),
    ]  # fmt: skip
    return Table(f"compared_{where}", caption, columns, rows)


def _other(row: Mapping[str, Any], trivial: str) -> str:
    """Whom the model is compared with, and what is to be known of it; `trivial` is what the trivial model predicts."""
    if row.get("with") == TRIVIAL:
        return f"always predicting {trivial}"
    if "with" in row:
        return f"{row['with']} (adapted: {row['adapted']})" if row.get("adapted") else str(row["with"])
    tried = [f"trial {row['trial']}", row["family"]] if row["trial"] is not None else []
    words = [", ".join([*tried, row["state"].lower()])]
    words += ["the winner"] if row["winner"] else []
    words += [f"adapted: {row['adapted']}"] if row.get("adapted") else []
    return f"{row['name']} ({'; '.join(words)})"


def published(figures: Mapping[str, Any]) -> Table:
    """Figures of publications on the same test images."""
    names = {n: NAMES[n] for n in ("accuracy", "sensitivity", "specificity", "auc")}
    rows = [[row["source"], *(row.get(name) for name in names)] for row in figures["published"]]
    columns = [Column("source"), *(Column(words, "number") for words in names.values())]
    return Table("published", "Published results on the same test images", columns, rows)


def evaluations(entries: Sequence[Mapping[str, Any]]) -> Table:
    """Every evaluation of the test set."""
    rows = []
    for e in entries:
        what = str(e.get("what", "")) + (f", with recipes {', '.join(e['compared'])}" if e.get("compared") else "")
        of = ", ".join(map(str, e.get("trials", [])))
        own = e.get("figures") or {}
        when = str(e.get("when", "")).replace("T", " ").partition("+")[0]
        rows.append([when, what, e.get("final", ""), of, e.get("policy", ""), *(own.get(name) for name in FIGURES)])
    columns = [
        Column("when (UTC)"), Column("what"), Column("final model"), Column("trials"), Column("policy"),
        *(Column(NAMES[name], "interval", 2) for name in FIGURES),
    ]  # fmt: skip
    return Table("evaluations", "Evaluations of the test set", columns, rows)


def _triple(value: Any) -> list[Any] | None:
    return [value, None, None] if isinstance(value, int | float) else value
