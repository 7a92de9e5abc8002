"""A Gaussian process with a length scale for each column, fitted so that few trials say little about many columns."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
import threadpoolctl
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import Bounds, minimize
from scipy.stats import norm

REFIT = 1.1
"""The kernel's parameters are fitted again when the trials have grown by this factor."""
STEPS = 15
"""Of each such fit, which starts where the last one ended."""
NOISE = 0.05
"""The noise's variance that is expected before anything is seen; values have variance 1."""
BOUNDS = {"amplitude": (0.05, 20.0), "length": (0.02, 50.0), "noise": (1e-3, 1.0)}
ROOT5 = math.sqrt(5.0)


class Process:
    """What is expected at points of a cube, and how sure that is.

    The kernel is Matérn 5/2 with a length scale for each column. Its parameters are those most probable under
    log-normal priors of width 1 (a factor of 2.7): without priors, forty trials in fifty columns would be explained by
    any column at will. The length scales' prior grows with the square root of the number of parameters a configuration
    has, as distances do (Hvarfner et al. 2024, "Vanilla Bayesian Optimization Performs Great in High Dimensions").
    scikit-learn's process would do, but takes ten times as long: its gradient has a matrix for each column.
    """

    def __init__(self) -> None:
        self._theta: np.ndarray | None = None
        self._fitted = 0
        self._points = self._values = np.empty(0)

    def fit(self, points: np.ndarray, values: np.ndarray, active: float, trials: int) -> None:
        """Learn from `(n, columns)` points in [0, 1] and their `(n,)` values.

        Args:
            points: where the trials were.
            values: what they brought, of mean 0 and variance 1.
            active: how many parameters a configuration has, on average.
            trials: the number of all trials; the kernel is fitted anew when they have grown by `REFIT`.
        """
        with self._one_thread.limit(limits=1):
            if self._theta is None or trials >= REFIT * self._fitted:
                self._theta, self._fitted = _most_probable(points, values, active, self._theta), trials
            self._condition(points, values)

    def believe(self, points: np.ndarray) -> None:
        """Count running trials at `(n, columns)` points with what is expected of them (Ginsbourger et al. 2010)."""
        expected = self.mean(points)
        with self._one_thread.limit(limits=1):
            self._condition(np.vstack([self._points, points]), np.concatenate([self._values, expected]))

    def mean(self, points: np.ndarray) -> np.ndarray:
        """`(n,)` values that are expected at `(n, columns)` points."""
        with self._one_thread.limit(limits=1):
            expected: np.ndarray = self._across(points) @ self._weights
        return expected

    def improvement(self, points: np.ndarray, best: float) -> np.ndarray:
        """`(n,)` expected improvements over `best` at `(n, columns)` points, noise left out (Jones et al. 1998)."""
        with self._one_thread.limit(limits=1):
            across = self._across(points)
            mean = across @ self._weights
            explained = solve_triangular(self._factor[0], across.T, lower=True)
        doubt = np.sqrt(np.maximum(self._amplitude - (explained**2).sum(axis=0), 1e-12))
        z = (mean - best) / doubt
        improvement: np.ndarray = (mean - best) * norm.cdf(z) + doubt * norm.pdf(z)
        return improvement

    @cached_property
    def _one_thread(self) -> threadpoolctl.ThreadpoolController:
        """Trials have all the cores: more threads than one would wait for each other, for seconds."""
        return threadpoolctl.ThreadpoolController()

    def _condition(self, points: np.ndarray, values: np.ndarray) -> None:
        assert self._theta is not None
        self._points, self._values = points, values
        self._amplitude, noise = math.exp(self._theta[0]), math.exp(self._theta[-1])
        self._lengths = np.exp(self._theta[1:-1])
        self._factor = cho_factor(self._across(points) + noise * np.eye(len(points)), lower=True)
        self._weights = cho_solve(self._factor, values)

    def _across(self, points: np.ndarray) -> np.ndarray:
        """`(n, trials)` covariances of points with the trials."""
        distance = _distances(points / self._lengths, self._points / self._lengths)
        return self._amplitude * _matern(distance)


def _most_probable(points: np.ndarray, values: np.ndarray, active: float, start: np.ndarray | None) -> np.ndarray:
    """The logarithms of amplitude, `(columns,)` length scales and noise that are most probable."""
    size, columns = points.shape
    expected = np.concatenate([[0.0], np.full(columns, math.log(0.5 * math.sqrt(active))), [math.log(NOISE)]])
    low, high = np.log([BOUNDS["amplitude"], *[BOUNDS["length"]] * columns, BOUNDS["noise"]]).T

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        """The negative logarithm of likelihood times prior, and its gradient."""
        amplitude, noise = math.exp(theta[0]), math.exp(theta[-1])
        scaled = points / np.exp(theta[1:-1])
        distance = _distances(scaled, scaled)
        signal = amplitude * _matern(distance)
        factor = cho_factor(signal + noise * np.eye(size), lower=True)
        weights, inverse = cho_solve(factor, values), cho_solve(factor, np.eye(size))
        slope = 0.5 * (inverse - np.outer(weights, weights))  # of the loss, by the covariance
        by_length = slope * amplitude * 5 / 3 * (1 + ROOT5 * distance) * np.exp(-ROOT5 * distance)
        lengths = 2 * (by_length.sum(axis=1) @ scaled**2 - (scaled * (by_length @ scaled)).sum(axis=0))
        off = theta - expected
        value = 0.5 * float(values @ weights) + float(np.log(np.diag(factor[0])).sum()) + 0.5 * float(off @ off)
        return value, np.concatenate([[np.sum(slope * signal)], lengths, [noise * np.trace(slope)]]) + off

    begin = np.clip(expected if start is None else start, low, high)
    found = minimize(loss, begin, jac=True, method="L-BFGS-B", bounds=Bounds(low, high), options={"maxiter": STEPS})
    theta: np.ndarray = found.x
    return theta


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """`(n, m)` Euclidean distances of rows."""
    squares = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1)[None, :] - 2 * first @ second.T
    distances: np.ndarray = np.sqrt(np.maximum(squares, 0.0))
    return distances


def _matern(distance: np.ndarray) -> np.ndarray:
    """The Matérn 5/2 correlation at a distance."""
    correlation: np.ndarray = (1 + ROOT5 * distance + 5 / 3 * distance**2) * np.exp(-ROOT5 * distance)
    return correlation
