"""`python -m search.retrain best`: the winner confirmed, trained anew, evaluated on the held-out test set, saved."""

from __future__ import annotations

from search.cli import console
from search.retraining.options import RetrainingOptions
from xraytune.inference.test_time_augmentation import KINDS

EXAMPLES = """
python -m search.retrain best
python -m search.retrain 17 --study mine
python -m search.retrain top:3 --final ensemble --time 20m
python -m search.retrain best --threshold sensitivity:0.95 --tta
python -m search.retrain best --compare-recipes
python -m search.retrain best --refer --refer-sensitivity 0.98
"""
ALONE = {"--tta": KINDS}
"""Values of the option that may stand without one."""


def main(options: RetrainingOptions) -> None:
    """Train a study's best configuration as the final model and evaluate it once on the held-out test set.

    The best trials are compared by cross-validation with patient-grouped folds and several seeds. The winner is trained
    on training and validation images; calibration and threshold are fitted on cross-validated predictions. Then the
    test set is evaluated, which the study's access log records. Calling an interrupted retraining again continues it
    from the last finished fold.
    """
    from search.retraining.steps import retrain

    retrain(options)


if __name__ == "__main__":
    console.run(main, examples=EXAMPLES, alone=ALONE)
