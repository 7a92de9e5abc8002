# Written by `make reference` from the declarations of the options; not to be edited.
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from search.api import Evaluation as Evaluation
from search.api import Verification as Verification
from search.api.final import Final as _Final
from search.api.study import Study as _Study
from search.tracking.callbacks import Callback as Callback
from search.tracking.callbacks import Epoch as Epoch
from search.tracking.callbacks import RetrainEnd as RetrainEnd
from search.tracking.callbacks import SearchEnd as SearchEnd
from search.tracking.callbacks import TrialEnd as TrialEnd
from search.tracking.callbacks import TrialStart as TrialStart
from xraytune import errors as errors

__version__: str

class Final(_Final):
    def evaluate(  # type: ignore[override]
        self,
        data: str | Path,
        *,
        progress: bool = True,
        patient_regex: str | None = None,
        label: str | None = None,
        negative: str | None = None,
        uncertain: Literal["ignore", "positive", "negative"] = "ignore",
        site: str | None = None,
        quarantine: bool = False,
        map: Mapping[str, str] | Iterable[str] | str = ...,
        include_seen: bool = False,
        out: str | Path | None = None,
    ) -> Evaluation: ...

class Study(_Study):
    def retrain(  # type: ignore[override]
        self,
        which: str | int = "best",
        *,
        progress: bool = True,
        verbose: bool = False,
        callbacks: Sequence[Callback] = (),
        tensorboard: bool = False,
        mlflow: str | None = None,
        weights_dir: str | Path | None = None,
        cache: str | Path | None = None,
        cache_limit: int | str = 0,
        data: str | Path | None = None,
        space: str | None = None,
        time: float | str | None = None,
        finalists: int = 5,
        folds: int = 5,
        site_decides: Literal["mean", "worst"] = "mean",
        seeds: int = 2,
        refits: int = 3,
        final: Literal["auto", "refit", "folds", "ensemble"] = "auto",
        backbone: Mapping[str, str] | Iterable[str] | str = ...,
        threshold: str = "auto",
        refer: bool = False,
        refer_sensitivity: float = 0.95,
        refer_specificity: float = 0.9,
        refer_risk: float = 0.05,
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
    callbacks: Sequence[Callback] = (),
    weights_dir: str | Path | None = None,
    cache: str | Path | None = None,
    cache_limit: int | str = 0,
    patient_regex: str | None = None,
    label: str | None = None,
    negative: str | None = None,
    uncertain: Literal["ignore", "positive", "negative"] = "ignore",
    site: str | None = None,
    quarantine: bool = False,
    positive: str | None = None,
    fit: Literal["crop", "pad", "squash"] = "crop",
    seed: int = 0,
    validate_on: Literal["patient", "site"] = "patient",
    trials: int | None = None,
    max_epochs: int = 0,
    space: str | None = None,
    families: str | Iterable[str] = ...,
    fix: Mapping[str, Any] | Iterable[str] | str = ...,
    backbone: Mapping[str, str] | Iterable[str] | str = ...,
    backbone_input: Mapping[str, str] | Iterable[str] | str = ...,
    backbone_licence: Mapping[str, str] | Iterable[str] | str = ...,
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
    tensorboard: bool = False,
    mlflow: str | None = None,
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
    patient_regex: str | None = None,
    label: str | None = None,
    negative: str | None = None,
    uncertain: Literal["ignore", "positive", "negative"] = "ignore",
    site: str | None = None,
    quarantine: bool = False,
    positive: str | None = None,
    fit: Literal["crop", "pad", "squash"] = "crop",
    seed: int = 0,
) -> Verification: ...

def load_study(name: str | None = None, results: str | Path = "results", storage: str | None = None) -> Study: ...
def load(path: str | Path) -> Final: ...
