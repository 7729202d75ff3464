"""The mean of a population as something that is learned: numbers at a few times, tied to the density by a condition.

A game in which agents care where the others are on average has ``μ(t) = ∫ x m(x, t) dx`` in its costs, an integral over
the whole of space where an equation knows one point. So μ at Chebyshev's times becomes unknown numbers of the problem,
``μ(t)`` the polynomial through them, and a condition asks that they are what the density says:

    ∫ x m(x, t_k) dx / ∫ m(x, t_k) dx − μ(t_k) = 0

Each residual of it is a sum over many points of one time; its derivatives by the weights of the density and by the
numbers are exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pinn.conditions.condition import Condition, ConditionPoints, Values
from pinn.geometry.base import Geometry
from pinn.unknown import Unknown
from training.errors import ConfigurationError

ALONG = {1: 96, 2: 40}
"""Gauss–Legendre nodes along a coordinate of the box; in more dimensions points are drawn."""

DRAWN = 512
"""Points at each time in three and more dimensions."""

WIDER = 1.2
"""Standard deviation of drawn points, in that of the population: all of it is seen, and no point weighs much."""


class MeanPath:
    """``μ(t)`` as the polynomial through its values at Chebyshev's times.

    Args:
        space: names of the coordinates.
        duration: T.
        nodes: how many times, ends included.
        initial: where the search begins, along every coordinate.

    Attributes:
        times: (nodes,) float64, ascending from 0 to T.
        unknowns: what is learned, by name: ``mean_x_0`` at the start, and so on.

    Raises:
        ConfigurationError: if there are fewer than two nodes.
    """

    def __init__(self, space: Sequence[str], duration: float, nodes: int, initial: float) -> None:
        if nodes < 2:
            raise ConfigurationError(f"The mean of a population is learned at 2 or more times; got {nodes}.")
        angle = torch.arange(nodes, dtype=torch.float64) * (math.pi / (nodes - 1))
        self.space = tuple(space)
        self.times = 0.5 * duration * (1 - torch.cos(angle))
        self.unknowns = {f"mean_{name}_{node}": Unknown(initial) for name in space for node in range(nodes)}

    def at(self, t: Tensor, values: Sequence[Tensor]) -> list[Tensor]:
        """``μ(t)``, (n,) per coordinate, for t (n,); values in the order of the unknowns, one or n each."""
        times = self.times.to(t)
        shares = []
        for node, time in enumerate(times):
            others = torch.cat([times[:node], times[node + 1 :]])
            shares.append(((t[:, None] - others) / (time - others)).prod(1))
        return [
            sum((share * value for share, value in zip(shares, part, strict=True)), torch.zeros_like(t))
            for part in self._by_coordinate(values)
        ]

    def at_end(self, values: Sequence[Any]) -> list[Any]:
        """``μ(T)``, one value per coordinate, as it was given."""
        return [part[-1] for part in self._by_coordinate(values)]

    def _by_coordinate(self, values: Sequence[Any]) -> list[Sequence[Any]]:
        nodes = len(self.times)
        return [values[nodes * place : nodes * (place + 1)] for place in range(len(self.space))]


class PopulationMean(Condition):
    """The learned mean is that of the density ``exp(log_m)``.

    In one and two dimensions the integrals are Gauss–Legendre sums over the box. In more, they are means over points
    from a normal density that follows the population (`follow`), each point with the weight m has over that density;
    the points lie in pairs on both sides of its centre, so that the error is small where the centre is the mean.

    Args:
        path: the numbers that are learned.
        deviation: of the population at the start, along every coordinate: where points are first drawn.
        name: of the condition.
    """

    def __init__(self, path: MeanPath, deviation: float, name: str = "mean") -> None:
        super().__init__(name, {"log_m": 0.0}, hard=False, n_points=None)
        self.path = path
        self.deviation = deviation
        self._start = next(iter(path.unknowns.values())).initial

    def sample(self, domain: Geometry, n: int, generator: torch.Generator, kind: str = "sobol") -> ConditionPoints:
        """Points of all times, those of one time following each other; n, generator and kind are not used."""
        nodes, d = len(self.path.times), len(self.path.space)
        if d in ALONG:
            return self._points([_gauss_legendre(domain, self.path.space, ALONG[d])] * nodes)
        centre = torch.full((d,), self._start, dtype=torch.float64)
        spread = torch.full((d,), self.deviation, dtype=torch.float64)
        return self._points([_normal(domain, self.path.space, centre, spread)] * nodes)

    def follow(self, domain: Geometry, points: ConditionPoints, values: Values) -> ConditionPoints | None:
        """Points where the density is by now; Gauss–Legendre's stay."""
        d = len(self.path.space)
        if d in ALONG:
            return None
        shares = self._shares(values(points.points)["log_m"].cpu(), points)
        places = points.points[:, :-1].reshape(len(shares), -1, d)
        centres = (shares.unsqueeze(2) * places).sum(1)
        variances = (shares.unsqueeze(2) * (places - centres.unsqueeze(1)).square()).sum(1)
        # a first guess that sees little of the population must not shrink around a single point
        spreads = variances.sqrt().clamp(0.5 * self.deviation, 2.0 * self.deviation)
        return self._points([_normal(domain, self.path.space, c, s) for c, s in zip(centres, spreads, strict=True)])

    def residuals(
        self,
        fields: Mapping[str, Any],
        coordinates: Mapping[str, Tensor],
        points: ConditionPoints,
        parameters: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        assert parameters is not None
        # adding zero turns a field into the tensor of its values
        shares = self._shares(fields["log_m"] + 0.0, points)
        t = coordinates["t"].reshape(shares.shape)[:, 0]
        # one value for all rows, or one per row, of which the first of each time stands for it
        given = [parameters[name].reshape(-1) for name in self.path.unknowns]
        rows = [value if len(value) == 1 else value.reshape(shares.shape)[:, 0] for value in given]
        learned = self.path.at(t, rows)
        return {
            f"{self.name}.{name}": (shares * coordinates[name].reshape(shares.shape)).sum(1) - mean
            for name, mean in zip(self.path.space, learned, strict=True)
        }

    def complaints(self, domain: Geometry, fields: tuple[str, ...], parameters: tuple[str, ...]) -> list[str]:
        found = [f"there is no unknown {name!r}." for name in self.path.unknowns if name not in parameters]
        return found + ([] if "log_m" in fields else ["there is no field 'log_m'."])

    def _shares(self, log_m: Tensor, points: ConditionPoints) -> Tensor:
        """Of each point in the population of its time, (times, points of a time); each row adds up to one."""
        return torch.softmax((log_m + points.values["log_weight"].to(log_m)).reshape(-1, points.group), dim=1)

    def _points(self, places: Sequence[tuple[Tensor, Tensor]]) -> ConditionPoints:
        """Places (m, d) and logarithms of their weights (m,), a pair for every time."""
        rows = [
            torch.cat([place, time.expand(len(place), 1)], dim=1)
            for time, (place, _) in zip(self.path.times, places, strict=True)
        ]
        weights = torch.cat([weight for _, weight in places])
        return ConditionPoints(torch.cat(rows), values={"log_weight": weights}, group=len(rows[0]))


def _gauss_legendre(domain: Geometry, space: Sequence[str], along: int) -> tuple[Tensor, Tensor]:
    nodes, weights = _legendre(along)
    axes, logs = [], []
    for name in space:
        low, high = domain.bounds[name]
        axes.append(low + (high - low) * (nodes + 1) / 2)
        logs.append(weights.log())
    places = torch.cartesian_prod(*axes).reshape(-1, len(space))
    return places, torch.cartesian_prod(*logs).reshape(-1, len(space)).sum(1)


def _legendre(along: int) -> tuple[Tensor, Tensor]:
    """Nodes in (−1, 1) and weights, by the eigenvalues of Jacobi's matrix (Golub and Welsch, 1969)."""
    k = torch.arange(1, along, dtype=torch.float64)
    beside = k / torch.sqrt(4 * k * k - 1)
    nodes, vectors = torch.linalg.eigh(torch.diag(beside, 1) + torch.diag(beside, -1))
    return nodes, 2 * vectors[0].square()


def _normal(domain: Geometry, space: Sequence[str], centre: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs of points on both sides of a centre, inside the box, and the logarithm of one over their density."""
    unit = torch.quasirandom.SobolEngine(len(space), scramble=True, seed=0).draw(DRAWN // 2, dtype=torch.float64)
    half = torch.special.ndtri(unit.clamp(1e-12, 1 - 1e-12))
    z = torch.cat([half, -half])
    places = centre + WIDER * deviation * z
    low, high = torch.tensor([domain.bounds[name] for name in space], dtype=torch.float64).T
    inside = ((places > low) & (places < high)).all(1)
    # outside the box the network means nothing: such points stay, at the centre, with no weight
    logs = torch.where(inside, 0.5 * z.square().sum(1), -torch.inf)
    return torch.where(inside[:, None], places, centre), logs
