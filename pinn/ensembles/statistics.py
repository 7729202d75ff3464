"""Mean, spread and band of an ensemble, and its members paired with their paths."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pinn.ensembles.training import Ensemble


@dataclass(frozen=True)
class Summary:
    """An ensemble on a grid; failed members are left out of everything but ``failed``.

    Attributes:
        x, t: (n_x,), (n_t,): the grid.
        members: (sound,) int64: numbers of the members that count; row k of ``u`` is that of path ``members[k]``.
        failed: what became of the others, by number.
        u: (sound, n_t, n_x): the solutions.
        mean, spread: (n_t, n_x): over members; the spread is the standard deviation.
        low, high: (n_t, n_x): the band that holds a given share of the members.
        share: of the band.
        errors: (sound,): relative L2 error of each member against the exact solution under its path; None if unknown.
        exact_mean: (n_t, n_x): of the exact solutions under the same paths; None if unknown.
        loss: (sound,): mean squared residual on the grid.
    """

    x: Tensor
    t: Tensor
    members: Tensor
    failed: dict[int, str]
    u: Tensor
    mean: Tensor
    spread: Tensor
    low: Tensor
    high: Tensor
    share: float
    errors: Tensor | None
    exact_mean: Tensor | None
    loss: Tensor

    @property
    def standard_error(self) -> float:
        """Of the mean, at its largest, as of independent members."""
        return float(self.spread.max()) / max(len(self.members), 1) ** 0.5

    def figures(self) -> dict[str, float | None]:
        """The numbers of ``summary.json``."""
        errors = self.errors
        mean_error = None
        if self.exact_mean is not None and len(self.members):
            mean_error = float((self.mean - self.exact_mean).norm() / self.exact_mean.norm())
        return {
            "relative_l2": None if errors is None or not len(errors) else float(errors.max()),
            "median_relative_l2": None if errors is None or not len(errors) else float(errors.median()),
            "mean_relative_l2": mean_error,
            "residual_rms": float(self.loss.max().sqrt()) if len(self.loss) else None,
            "members": float(len(self.members) + len(self.failed)),
            "failed_members": float(len(self.failed)),
            "largest_spread": float(self.spread.max()) if len(self.members) else None,
            "largest_standard_error": self.standard_error if len(self.members) else None,
        }


def summarise(ensemble: Ensemble, share: float, n: int = 41, limit: float | None = None) -> Summary:
    """Evaluate all members on a grid.

    Args:
        ensemble: trained.
        share: of the members that the band holds, as 0.9.
        n: points of the grid in each coordinate.
        limit: a member whose residual's root mean square is larger has failed; None: none.
    """
    problem, paths = ensemble.problem, ensemble.paths
    axes = problem.domain.bounds.values()
    x, t = (torch.linspace(float(low), float(high), n, dtype=torch.float64) for low, high in axes)
    grid = torch.cartesian_prod(t, x).flip(1)
    u = ensemble.values(grid).double().cpu()
    with torch.no_grad():
        loss = ensemble.losses(ensemble.prepared(grid)).double().cpu()
    failed = ensemble.failures.in_words()
    for member in range(len(paths)):
        if member not in failed and not bool(u[member].isfinite().all() and loss[member].isfinite()):
            failed[member] = "solution not finite"
        elif member not in failed and limit is not None and float(loss[member]) ** 0.5 > limit:
            failed[member] = f"residual {float(loss[member]) ** 0.5:.2g} above {limit:g}"
    sound = torch.tensor([member for member in range(len(paths)) if member not in failed], dtype=torch.int64)
    solutions = u[sound].reshape(len(sound), n, n)
    exact = _exact(ensemble, grid, sound)
    tail = (1 - share) / 2
    empty = torch.full((n, n), torch.nan, dtype=torch.float64)
    some = len(sound) > 0
    return Summary(
        x=x,
        t=t,
        members=sound,
        failed=dict(sorted(failed.items())),
        u=solutions,
        mean=solutions.mean(dim=0) if some else empty,
        spread=solutions.std(dim=0) if len(sound) > 1 else torch.zeros(n, n, dtype=torch.float64),
        low=solutions.quantile(tail, dim=0) if some else empty,
        high=solutions.quantile(1 - tail, dim=0) if some else empty,
        share=share,
        errors=None if exact is None else (solutions - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1),
        exact_mean=None if exact is None else exact.mean(dim=0),
        loss=loss[sound],
    )


def _exact(ensemble: Ensemble, grid: Tensor, sound: Tensor) -> Tensor | None:
    """(sound, n_t, n_x), or None where the problem knows no solution."""
    if not len(sound):
        return None
    x, t = (column.repeat(len(sound)) for column in grid.unbind(1))
    found = ensemble.problem.exact(ensemble.paths.pick(sound), x, t)
    n = round(len(grid) ** 0.5)
    return None if found is None else found.reshape(len(sound), n, n)
