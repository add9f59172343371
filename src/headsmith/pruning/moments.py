"""Sums of products over a stream of rows, and the least squares they allow.

Memory is that of the sums, whatever the amount of data. Products of one batch are taken in
the features' own precision (float32 at least), sums and solutions in float64; the products of
very wide features are summed in float32, and a few thousand rows of them at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from headsmith.pruning.processes import add_up

__all__ = ["WIDE", "Moments", "damp_", "damped", "sums_device"]


WIDE = 4096
"""From so many features on their products are kept in float32: 8192² of them take 256 MiB."""
_ROWS = 2048


@dataclass
class Moments:
    """Means and covariances of features x, and of x with targets t.

    Args:
        features: length of x.
        targets: length of t; 0 where only x is of interest.
        device: where the sums are kept.
    """

    features: int
    targets: int = 0
    device: torch.device | str = "cpu"

    def __post_init__(self) -> None:
        self.rows = 0
        self._x = self._zeros(self.features)
        self._products: Tensor | None = None  # of x with x; made when there is something to add
        self._t = self._zeros(self.targets)
        self._tx = self._zeros(self.targets, self.features)
        self._tt = 0.0

    @property
    def _xx(self) -> Tensor:
        if self._products is None:
            dtype = torch.float32 if self.features >= WIDE else torch.float64
            size = self.features, self.features
            self._products = torch.zeros(size, dtype=dtype, device=self.device)
        return self._products

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.float64, device=self.device)

    def add(self, x: Tensor, t: Tensor | None = None) -> None:
        """Add rows: x (rows, features), and t (rows, targets) where there are targets."""
        x = x.detach().to(self.device)
        x = x if x.dtype in (torch.float32, torch.float64) else x.float()
        self.rows += len(x)
        self._x += x.sum(0, dtype=torch.float64)
        products = self._xx
        for first in range(0, self.features, _ROWS):
            products[first : first + _ROWS] += x[:, first : first + _ROWS].T @ x
        if t is not None:
            t = t.detach().to(self.device).to(x.dtype)
            self._t += t.sum(0, dtype=torch.float64)
            self._tx += t.T @ x
            self._tt += float(t.square().sum(dtype=torch.float64))

    def add_up(self) -> None:
        """Take in what other processes have summed; all then hold the same."""
        numbers = torch.tensor([self.rows, self._tt], dtype=torch.float64)
        add_up(numbers, self._x, self._xx, self._t, self._tx)
        self.rows, self._tt = round(numbers[0].item()), numbers[1].item()

    @property
    def mean(self) -> Tensor:
        """Mean of x, (features,)."""
        return self._x / max(1, self.rows)

    @property
    def mean_target(self) -> Tensor:
        """Mean of t, (targets,)."""
        return self._t / max(1, self.rows)

    @property
    def covariance(self) -> Tensor:
        """Covariance of x, (features, features); a copy."""
        mean = self.mean.to(self._xx.dtype)
        return self.second_moment.addr_(mean, mean, alpha=-1)

    @property
    def second_moment(self) -> Tensor:
        """Mean of x xᵀ, (features, features); a copy."""
        return self._xx / max(1, self.rows)

    @property
    def cross_covariance(self) -> Tensor:
        """Covariance of t with x, (targets, features)."""
        return self._tx / max(1, self.rows) - torch.outer(self.mean_target, self.mean)

    @property
    def energy(self) -> float:
        """Mean ‖t‖² over the rows seen."""
        return self._tt / max(1, self.rows)

    def fit(self, prior: Tensor, ridge: float, *, centred: bool = True) -> tuple[Tensor, Tensor]:
        """Least squares of t on x, pulled towards a prior.

        Minimises mean ‖W x + b − t‖² + λ‖W − prior‖² with λ = `ridge` × the mean variance of
        the features.

        Args:
            prior: W to fall back on, (targets, features), float64.
            ridge: strength of the pull; large values return the prior with a fitted bias.
            centred: whether there is a b to absorb the means; else it is zero.

        Returns:
            W (targets, features) and b (targets,), float64.
        """
        if not centred:
            spread = self.second_moment.double()
            missing = self._tx / max(1, self.rows) - prior @ spread
            change = torch.linalg.solve(damp_(spread, ridge), missing.T).T
            return prior + change, torch.zeros_like(self.mean_target)
        covariance = self.covariance.double()
        missing = self.cross_covariance - prior @ covariance
        change = torch.linalg.solve(damp_(covariance, ridge), missing.T).T
        fitted = prior + change
        return fitted, self.mean_target - fitted @ self.mean

    def error(self, weight: Tensor, bias: Tensor) -> float:
        """Mean ‖W x + b − t‖² over the rows seen."""
        shift = weight @ self.mean + bias - self.mean_target
        spread = ((weight @ self.covariance.double()) * weight).sum()
        spread -= 2 * (weight * self.cross_covariance).sum()
        variance = self._tt / max(1, self.rows) - float(self.mean_target.square().sum())
        return float(spread) + variance + float(shift.square().sum())


def sums_device(device: torch.device) -> torch.device:
    """Where float64 sums of what is computed on `device` can be kept."""
    # Apple's GPUs have no float64.
    return torch.device("cpu") if device.type == "mps" else device


def damped(matrix: Tensor, damping: float) -> Tensor:
    """`matrix` + `damping` × its mean diagonal on the diagonal: positive definite."""
    return damp_(matrix.clone(), damping)


def damp_(matrix: Tensor, damping: float) -> Tensor:
    """The same in place."""
    if not len(matrix):
        return matrix
    diagonal = matrix.diagonal()
    # A site whose inputs never vary (all padding, or dead neurons) has a zero matrix.
    amount = damping * float(diagonal.mean()) + 1e-12 * float(diagonal.abs().max()) + 1e-30
    diagonal += amount
    return matrix
