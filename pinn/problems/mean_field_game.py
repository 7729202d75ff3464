"""The linear-quadratic mean-field game: agents pay for effort, for being far from the origin, and for being alone.

With the mean ``μ(t)`` of the population,

    −u_t − νΔu + |∇u|²/2 = q|x|²/2 + κ|x − μ(t)|²/2        u(T) = g|x − s μ(T)|²/2
     m_t − νΔm − div(m∇u) = 0                               m(0) = N(μ₀, v₀ I)

Manufactured for the whole space in any dimension, where everything stays normal: ``m(t) = N(μ(t), v(t) I)``. With
``σ² = 2ν``, ``k = √(q + κ)``, ``h = artanh(g/k)``, ``f = artanh(g(1 − s)/√q)``:

    a = k tanh(k(T − t) + h)        P = √q tanh(√q(T − t) + f)        C = cosh(k(T − t) + h)
    μ = μ₀ cosh(√q(T − t) + f)/cosh(√q T + f)
    v = C² [v₀/C(0)² + (σ²/k)(tanh(kT + h) − tanh(k(T − t) + h))]
    u = a|x − μ|²/2 + P μ·(x − μ) + P|μ|²/2 − g s(1 − s)|μ(T)|²/2 + (σ² d/2) ln(C/C(T))

The equations need each other: μ is learned as numbers at a few times, and a condition asks that they are the mean of m
(`pinn.population_mean`). The closed form serves as the reference, and says how large a box has to be.

The family is that of Bensoussan, Sung, Yam, Yung, "Linear-quadratic mean field games", J. Optim. Theory Appl. 169
(2016) 496.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pinn.geometry.normal_box import NormalBox
from pinn.mean_field_game import Columns, MeanFieldGame, squares
from pinn.population_mean import MeanPath, PopulationMean
from pinn.references.reference import Exact
from training.errors import ConfigurationError


class LinearQuadraticGame(MeanFieldGame):
    """The linear-quadratic game, ``H = |p|²/2``.

    Args:
        dimension: d; the coordinates are x, or x1, x2, …
        duration: T.
        diffusion: ν.
        pull: q, towards the origin.
        company: κ, towards the mean of all.
        final: g, weight of the terminal cost.
        share: s, how much of the mean's place is the target at the end.
        mean: μ₀ along every coordinate.
        variance: v₀ along every coordinate.
        reach: how far the box reaches beyond the mean's path, in the population's largest standard deviation.
        spread: standard deviation of points drawn from the box, about its middle, in the population's largest; a large
            number for a uniform density.
        mean_nodes: times at which the population's mean is learned; the polynomial through them is its path.
        hard: whether ``u = g|x − s μ(T)|²/2 + (1 − t/T) N`` and ``ln m = ln m₀ + (t/T) N`` hold, or enter the loss.

    Raises:
        ConfigurationError: if ``|g| ≥ √(q + κ)`` or ``|g(1 − s)| ≥ √q``, where the solution ends before the start.
    """

    formula = (
        r"-u_t - \nu \Delta u + \frac{1}{2}|\nabla u|^2 = \frac{q}{2}|x|^2 + \frac{\kappa}{2}|x - \mu|^2, \quad "
        r"\mu(t) = \int x\,m\,dx"
        "\n"
        r"m_t - \nu \Delta m - \nabla \cdot (m \nabla u) = 0"
    )

    def __init__(
        self,
        dimension: int = 1,
        duration: float = 1.0,
        diffusion: float = 0.25,
        pull: float = 1.0,
        company: float = 1.0,
        final: float = 0.5,
        share: float = 0.5,
        mean: float = 1.0,
        variance: float = 0.2,
        reach: float = 5.0,
        spread: float = 2.0,
        mean_nodes: int = 8,
        hard: bool = True,
    ) -> None:
        _require_possible(dimension, pull, company, final, share, variance)
        self.title = f"Linear-quadratic mean-field game, d = {dimension}"
        self.pull, self.company, self.final, self.share = pull, company, final, share
        self.exact = NormalPopulation(dimension, duration, diffusion, pull, company, final, share, mean, variance)
        space = self._space(dimension, reach, spread)
        path = MeanPath(space.coordinates, duration, mean_nodes, mean)
        self.play(space, duration, diffusion, hard, PopulationMean(path, math.sqrt(variance)))
        found = self.exact.mean_at(path.times).tolist()
        self.truth = {f"mean_{name}_{node}": at for name in space.coordinates for node, at in enumerate(found)}
        self.reference = Exact(self.coordinates, {"u": self.exact.value, "log_m": self.exact.log_density})

    def running_cost(self, x: Columns, t: Tensor, m: Tensor, mean: Columns) -> Tensor:
        away = [column - middle for column, middle in zip(x, mean, strict=True)]
        return (self.pull * squares(x) + self.company * squares(away)) / 2

    def terminal_cost(self, x: Columns, mean: Columns) -> Any:
        away = [column - middle * self.share for column, middle in zip(x, mean, strict=True)]
        return squares(away) * (self.final / 2)

    def initial_log_density(self, x: Columns) -> Any:
        exact = self.exact
        distance = squares([column - exact.mean for column in x])
        return distance * (-0.5 / exact.variance) - 0.5 * len(x) * math.log(2 * math.pi * exact.variance)

    def draw_start(self, n: int, generator: torch.Generator) -> Tensor:
        exact = self.exact
        noise = torch.randn(n, exact.dimension, dtype=torch.float64, generator=generator)
        return exact.mean + math.sqrt(exact.variance) * noise

    def _space(self, dimension: int, reach: float, spread: float) -> NormalBox:
        times = torch.linspace(0, self.exact.duration, 101, dtype=torch.float64)
        path, largest = self.exact.mean_at(times), float(self.exact.variance_at(times).max().sqrt())
        ends = (float(path.min()) - reach * largest, float(path.max()) + reach * largest)
        names = ["x"] if dimension == 1 else [f"x{place}" for place in range(1, dimension + 1)]
        ranges: dict[str, Any] = dict.fromkeys(names, ends)
        return NormalBox(spread=spread * largest, **ranges)

    def evaluation_points(self) -> Tensor:
        """20,000 places of agents at random times, drawn from the exact density."""
        points = self.exact.agents(20_000, torch.Generator().manual_seed(0))
        return points[self.domain.contains(points)]


class NormalPopulation:
    """The game's solution, where the population is normal at all times.

    Args:
        dimension, duration, diffusion, pull, company, final, share, mean, variance: as for the game.
    """

    def __init__(
        self,
        dimension: int,
        duration: float,
        diffusion: float,
        pull: float,
        company: float,
        final: float,
        share: float,
        mean: float,
        variance: float,
    ) -> None:
        self.dimension, self.duration, self.noise = dimension, duration, 2 * diffusion
        self.final, self.share, self.mean, self.variance = final, share, mean, variance
        self._root, self._pull = math.sqrt(pull + company), math.sqrt(pull)
        self._h = math.atanh(final / self._root)
        self._f = math.atanh(final * (1 - share) / self._pull)
        self.last_mean = mean * math.cosh(self._f) / math.cosh(self._pull * duration + self._f)

    def mean_at(self, t: Tensor) -> Tensor:
        """``μ(t)`` along every coordinate."""
        return self.mean * torch.cosh(self._later(t)) / math.cosh(self._pull * self.duration + self._f)

    def variance_at(self, t: Tensor) -> Tensor:
        """``v(t)`` along every coordinate."""
        k, whole = self._root, self._root * self.duration + self._h
        grown = self.variance / math.cosh(whole) ** 2
        return torch.cosh(self._left(t)) ** 2 * (
            grown + self.noise / k * (math.tanh(whole) - torch.tanh(self._left(t)))
        )

    def away(self, x: Columns, t: Tensor) -> list[Tensor]:
        """``x − μ(t)``."""
        middle = self.mean_at(t)
        return [column - middle for column in x]

    def value(self, *columns: Tensor) -> Tensor:
        """``u(x, t)``"""
        *x, t = columns
        away, middle = self.away(x, t), self.mean_at(t)
        d, g, s = self.dimension, self.final, self.share
        a = self._root * torch.tanh(self._left(t))
        p = self._pull * torch.tanh(self._later(t))
        straight = sum(away[1:], start=away[0])
        constant = d * (p * middle**2 / 2 - g * s * (1 - s) * self.last_mean**2 / 2)
        spread = self.noise * d / 2 * torch.log(torch.cosh(self._left(t)) / math.cosh(self._h))
        return a / 2 * squares(away) + p * middle * straight + constant + spread

    def log_density(self, *columns: Tensor) -> Tensor:
        """``ln m(x, t)``"""
        *x, t = columns
        v = self.variance_at(t)
        return -squares(self.away(x, t)) / (2 * v) - self.dimension / 2 * torch.log(2 * math.pi * v)

    def agents(self, n: int, generator: torch.Generator) -> Tensor:
        """Places of agents at times between start and end, (n, d + 1)."""
        t = self.duration * torch.rand(n, 1, dtype=torch.float64, generator=generator)
        z = torch.randn(n, self.dimension, dtype=torch.float64, generator=generator)
        return torch.cat([self.mean_at(t) + self.variance_at(t).sqrt() * z, t], dim=1)

    def _left(self, t: Tensor) -> Tensor:
        return self._root * (self.duration - t) + self._h

    def _later(self, t: Tensor) -> Tensor:
        return self._pull * (self.duration - t) + self._f


def _require_possible(dimension: int, pull: float, company: float, final: float, share: float, variance: float) -> None:
    if dimension < 1:
        raise ConfigurationError(f"dimension is 1 or more; got {dimension}.")
    if not (pull > 0 and company >= 0 and variance > 0):
        raise ConfigurationError(
            f"pull and variance are positive and company is not negative; got pull={pull}, company={company}, "
            f"variance={variance}."
        )
    if abs(final) >= math.sqrt(pull + company) or abs(final * (1 - share)) >= math.sqrt(pull):
        raise ConfigurationError(
            f"final={final} is too large: |final| stays below √(pull + company) = {math.sqrt(pull + company):.4g} and "
            f"|final·(1 − share)| below √pull = {math.sqrt(pull):.4g}."
        )
