# Written by `make reference` from the declarations of the options; not to be edited.
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from search.api import Evaluation as Evaluation
from search.api import Final as Final
from search.api import Verification as Verification
from search.api.study import Study as _Study
from xraytune import errors as errors

__version__: str

class Study(_Study):
    def retrain(  # type: ignore[override]
        self,
        which: str | int = "best",
        *,
        progress: bool = True,
        verbose: bool = False,
        weights_dir: str | Path | None = None,
        cache: str | Path | None = None,
        cache_limit: int | str = 0,
        data: str | Path | None = None,
        time: float | str | None = None,
        finalists: int = 5,
        folds: int = 5,
        seeds: int = 2,
        refits: int = 3,
        final: Literal["refit", "folds", "ensemble"] = "refit",
        threshold: str = "auto",
        tta: str | bool = "",
        with_names: bool = False,
        compare_recipes: bool = False,
        workers: int = 0,
    ) -> Final: ...

def search(
    data: str | Path | None = None,
    time: float | str | None = None,
    name: str | None = None,
    *,
    progress: bool = True,
    verbose: bool = False,
    weights_dir: str | Path | None = None,
    cache: str | Path | None = None,
    cache_limit: int | str = 0,
    positive: str | None = None,
    patient_regex: str | None = None,
    label: str | None = None,
    negative: str | None = None,
    uncertain: Literal["ignore", "positive", "negative"] = "ignore",
    quarantine: bool = False,
    fit: Literal["crop", "pad", "squash"] = "crop",
    seed: int = 0,
    trials: int | None = None,
    max_epochs: int = 0,
    space: str | None = None,
    families: str | Iterable[str] = ...,
    fix: Mapping[str, Any] | Iterable[str] | str = ...,
    recipes: str = "none",
    objective: Literal["clean", "robust"] = "robust",
    objectives: str | Iterable[str] = ...,
    beta: float = 2.0,
    sampler: Literal["bo", "tpe", "random"] | None = None,
    pruner: Literal["asha", "hyperband", "median", "none"] = "asha",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    study: str | None = None,
    resume: bool = False,
    results: str | Path = "results",
    storage: str | None = None,
    patience: int | None = None,
    target: float | None = None,
    failures: float | None = None,
    trial_timeout: float | str | None = None,
    concurrency: int | None = None,
    cpus_per_trial: float | None = None,
    gpus_per_trial: float | None = None,
    trial_memory: int | str = 0,
    address: str | None = None,
    deterministic: bool = False,
    warm_start: str | None = None,
    ray_dashboard: bool = False,
) -> Study: ...
def verify(
    data: str | Path,
    *,
    compare_test: bool = False,
    rehash: bool = False,
    progress: bool = True,
    positive: str | None = None,
    patient_regex: str | None = None,
    label: str | None = None,
    negative: str | None = None,
    uncertain: Literal["ignore", "positive", "negative"] = "ignore",
    quarantine: bool = False,
    fit: Literal["crop", "pad", "squash"] = "crop",
    seed: int = 0,
) -> Verification: ...

def load_study(name: str | None = None, results: str | Path = "results", storage: str | None = None) -> Study: ...
def load(path: str | Path) -> Final: ...
