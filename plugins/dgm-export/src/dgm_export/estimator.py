"""A density model as an estimator of scikit-learn: `fit`, `sample`, `score_samples`, `score`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

import dgmcore
from dgmcore.errors import RegistryError, UsageError
from dgmcore.noise import IndexedNoise
from dgmcore.sampling.settings import require_finite, undisturbed

from .tables import to_pandas

__all__ = ["EXCEPTIONS", "DensityEstimator"]

#: The checks of `sklearn.utils.estimator_checks.check_estimator` that it does not pass, and why.
EXCEPTIONS: dict[str, str] = {}

_BLOCK = 4096


class DensityEstimator(DensityMixin, BaseEstimator):  # type: ignore[misc]
    """A model with an exact density, trained on rows of numbers.

    Columns are standardised for training; log-densities are those of the data as they were given. A table of pandas
    gives `feature_names_in_`, and samples are a table with the same columns.

    Arguments:
        architecture: A registered architecture with a `log_prob` that is exact and a config `dim`, such as `maf`.
        config: More of its config.
        steps: Steps of training.
        batch_size: Data of a step.
        learning_rate: Of Adam, with a cosine schedule.
        random_state: A number, a `RandomState`, or None for numpy's global one.

    Attributes:
        model_: The trained model, float64, of standardised data.
        mean_: Of each column.
        scale_: The standard deviation of each column, 1 where it is 0.
        n_features_in_: The number of columns.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(200, 2))
        >>> DensityEstimator(steps=20).fit(x).sample(3).shape
        (3, 2)
    """

    def __init__(
        self,
        architecture: str = "maf",
        config: Mapping[str, Any] | None = None,
        steps: int = 1000,
        batch_size: int = 256,
        learning_rate: float = 2e-3,
        random_state: Any = 0,
    ):
        self.architecture = architecture
        self.config = config
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> DensityEstimator:
        """Trains the model on rows `(n, d)`.

        Raises:
            ValueError: If they are no finite numbers, or too few columns for the architecture (flows take two or more).
            UsageError: If the architecture has no exact density.
        """

        columns = list(X.columns) if hasattr(X, "columns") else None
        X = validate_data(self, X, dtype=[np.float64, np.float32], ensure_min_samples=2)
        self.columns_ = columns
        self.mean_ = X.mean(0, dtype=np.float64)
        scale = X.std(0, dtype=np.float64)
        self.scale_ = np.where(scale > 0, scale, 1.0)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        with tempfile.TemporaryDirectory(prefix="dgm-fit-") as folder:
            data = Path(folder) / "data.npy"
            np.save(data, ((X - self.mean_) / self.scale_).astype(np.float32))
            recipe = self._recipe(str(data), X.shape[1], seed, len(X))
            try:
                entry = dgmcore.train(recipe, out=Path(folder) / "out", runs=Path(folder) / "runs")
            except RegistryError as e:
                raise ValueError(f"{self.architecture} can't be built for n_features={X.shape[1]}: {e}") from e
            model = dgmcore.load(str(entry))
        if not model.can("density") or model.likelihood != dgmcore.Likelihood.EXACT:
            raise UsageError(f"{self.architecture} has no exact density", "choose a flow, such as maf, nsf or realnvp")
        self.model_ = model.to(torch.float64)
        return self

    def _recipe(self, data: str, dim: int, seed: int, n: int) -> dict[str, Any]:
        phase = {
            "phase": "likelihood",
            "batch_size": min(self.batch_size, n),
            "steps": self.steps,
            "optimizer": {"name": "adam", "lr": self.learning_rate},
            "schedule": {"name": "cosine", "final": 0.0},
        }
        return {
            "schema": 1,
            "name": "estimator",
            "architecture": self.architecture,
            "config": {"dim": dim, **(self.config or {})},
            "data": {"dataset": data},
            "phases": [phase],
            "seed": seed,
            "license": "unknown",
        }

    def score_samples(self, X: Any) -> np.ndarray:
        """Returns the log-density of each row, `(n,)`, in nats."""

        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        x = torch.from_numpy(((X - self.mean_) / self.scale_).astype(np.float64))
        with torch.no_grad(), undisturbed(self.model_):
            found = torch.cat([self.model_.log_prob(part) for part in torch.split(x, _BLOCK)]).numpy()
        require_finite(found, "the log-densities", "leave out the rows that are far away")
        values: np.ndarray = found - np.log(self.scale_).sum()
        return values

    def score(self, X: Any, y: Any = None) -> float:
        """Returns the mean log-density of the rows, in nats: more is better."""

        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Any:
        """Returns samples `(n, d)`: an array, or a table with the columns of the one that it was trained on.

        Arguments:
            n_samples: How many.
            random_state: As that of the estimator, which stands in where this is None: then each call gives the same.
        """

        check_is_fitted(self)
        chosen = self.random_state if random_state is None else random_state
        seed = int(check_random_state(chosen).randint(2**31 - 1))
        with torch.no_grad(), undisturbed(self.model_):
            x = self.model_.sample(IndexedNoise.of(self.model_, seed, int(n_samples))).numpy()
        require_finite(x, "the samples", "train longer, or with a smaller learning_rate")
        values = x * self.scale_ + self.mean_
        return values if self.columns_ is None else to_pandas(values, [str(c) for c in self.columns_])
