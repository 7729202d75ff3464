"""Mean-field games: what every agent should do while all others do the same.

The value ``u(x, t)`` of being at x and the density ``m(x, t)`` of agents satisfy

    −u_t − νΔu + H(x, ∇u, m) = f(x, t, m)          u(T) = g(x)
     m_t − νΔm − div(m H_p(x, ∇u, m)) = 0          m(0) = m₀

and an agent moves by ``dX = −H_p(X, ∇u, m) dt + √(2ν) dW``. The density is positive because its logarithm is what is
learned: with ``ℓ = ln m`` the second equation, divided by m, is

    ℓ_t − ν(Δℓ + |∇ℓ|²) − ∇ℓ·H_p − div H_p = 0

Lasry, Lions, "Mean field games", Japanese Journal of Mathematics 2 (2007) 229.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pinn.columns import OfColumns
from pinn.conditions import Dirichlet, Initial
from pinn.draws import draw
from pinn.fields import Field
from pinn.geometry import Time
from pinn.geometry.box import Box
from pinn.geometry.time import SpaceTime
from pinn.population_mean import MeanPath, PopulationMean
from pinn.problem import Problem
from training.errors import ConfigurationError

Columns = Sequence[Any]
"""One entry per space coordinate, each (n,); jets where only values at an end of time are asked for."""


class MeanFieldGame(Problem):
    """The base of every mean-field game: a subclass says what agents pay and where they start.

    >>> class Crowd(MeanFieldGame):
    ...     title = "Agents that avoid each other on the way to the origin"
    ...     formula = r"-u_t - \\nu u_{xx} + \\frac{1}{2} u_x^2 = m"
    ...
    ...     def __init__(self, diffusion: float = 0.1):
    ...         self.play(Interval(x=(-4, 4)), duration=1.0, diffusion=diffusion)
    ...
    ...     def running_cost(self, x, t, m, mean):
    ...         return m
    ...
    ...     def terminal_cost(self, x, mean):
    ...         return x[0] * x[0] / 2
    ...
    ...     def initial_log_density(self, x):
    ...         return -((x[0] - 1) * (x[0] - 1)) / 0.5 - 0.5 * math.log(0.5 * math.pi)

    The box stands for the whole space: no condition is set on its faces, so it reaches several standard deviations
    beyond the agents. Fields are ``u`` and ``log_m``.

    Attributes:
        diffusion: ν, so that agents have the noise ``√(2ν)``.
        mean_path: the population's mean, where costs know it.
    """

    fields = ("u", "log_m")
    diffusion: float

    mean_path: MeanPath | None = None

    def play(
        self,
        space: Box,
        duration: float,
        diffusion: float,
        hard: Mapping[str, bool] | bool = True,
        mean: PopulationMean | None = None,
    ) -> None:
        """Set the domain, the conditions and the equations; called by the subclass's constructor.

        Hard: ``u = g + (1 − t/T) N`` and ``ℓ = ln m₀ + (t/T) N``.

        Args:
            space: the box the game is played in, one to any number of dimensions.
            duration: T.
            diffusion: ν, positive.
            hard: whether both ends of time are built into the solution; or that by field.
            mean: for a game whose costs know the mean of the population: the condition that ties it to the density.

        Raises:
            ConfigurationError: if the diffusion is not positive.
        """
        if not diffusion > 0:
            raise ConfigurationError(f"diffusion is positive; got {diffusion}.")
        self.diffusion = float(diffusion)
        self.domain = space * Time(0, duration)
        exactly = hard if isinstance(hard, Mapping) else dict.fromkeys(self.fields, hard)
        names = space.coordinates
        learned: tuple[str, ...] = ()
        if mean is not None:
            self.mean_path, self.parameters = mean.path, mean.path.unknowns
            learned = tuple(self.parameters)
        terminal = OfColumns([*names, *learned], lambda *given: self._terminal(given))
        initial = OfColumns(names, lambda *x: self.initial_log_density(x))
        self.conditions = [
            Dirichlet("t=max", name="terminal", u=terminal, hard=exactly["u"]),
            Initial(log_m=initial, hard=exactly["log_m"]),
            *([] if mean is None else [mean]),
        ]
        self.equations = OfColumns([*self.fields, *names, "t", *learned], self._equations)

    def hamiltonian(self, x: Columns, p: Columns, m: Tensor) -> Tensor:
        """``H(x, p, m)``: (n,); ``|p|²/2`` unless a game has its own.

        Args:
            x: place, (n,) per coordinate.
            p: slope of the value, (n,) per coordinate.
            m: density (n,).
        """
        return squares(p) / 2

    def slope(self, x: Columns, p: Columns, m: Tensor) -> tuple[Tensor, ...]:
        """``H_p(x, p, m)``, (n,) per coordinate; by automatic differentiation unless a game has its own formula."""
        if type(self).hamiltonian is MeanFieldGame.hamiltonian:
            return tuple(p)
        return torch.func.grad(lambda p: self.hamiltonian(x, p, m).sum())(tuple(p))

    def running_cost(self, x: Columns, t: Tensor, m: Tensor, mean: Columns) -> Any:
        """``f(x, t, m, μ)``: (n,) or a number; none unless a game has one.

        Args:
            x: place, (n,) per coordinate.
            t: time (n,).
            m: density (n,).
            mean: of the population at that time, (n,) per coordinate; empty where the game does not learn it.
        """
        return 0.0

    def terminal_cost(self, x: Columns, mean: Columns) -> Any:
        """``g(x, μ(T))``, written with torch functions that jets know; the mean is empty where it is not learned."""
        raise NotImplementedError(f"{type(self).__name__} has no terminal_cost(self, x, mean).")

    def initial_log_density(self, x: Columns) -> Any:
        """``ln m₀(x)`` of mass one, written with torch functions that jets know."""
        raise NotImplementedError(f"{type(self).__name__} has no initial_log_density(self, x).")

    def draw_start(self, n: int, generator: torch.Generator) -> Tensor:
        """Places of agents at the start, (n, d) float64; by Markov chains in two and more dimensions, unless a game
        knows a better way."""
        assert isinstance(self.domain, SpaceTime) and isinstance(self.domain.base, Box)
        return draw(lambda x: self.initial_log_density(x.unbind(1)), self.domain.base, n, generator)

    def velocity(self, x: Columns, p: Columns, m: Tensor) -> tuple[Tensor, ...]:
        """``−H_p(x, p, m)``: where agents are driven, (n,) per coordinate."""
        return tuple(-column for column in self.slope(x, p, m))

    def _terminal(self, given: Columns) -> Any:
        """The terminal cost of coordinates, and of what is known of the mean."""
        d = len(self.space)
        mean = [] if self.mean_path is None else self.mean_path.at_end(given[d:])
        return self.terminal_cost(given[:d], mean)

    def _equations(self, u: Field, log_m: Field, *columns: Tensor) -> dict[str, Tensor]:
        d = len(self.space)
        x, t = columns[:d], columns[d]
        mean = [] if self.mean_path is None else self.mean_path.at(t, columns[d + 1 :])
        p = [u.d(name) for name in self.space]
        ascent = [log_m.d(name) for name in self.space]
        m = torch.exp(log_m.value)
        transport = self._divergence(u, x, p, m, ascent) + dot(self.slope(x, p, m), ascent)
        spreading = log_m.laplacian + squares(ascent)
        return {
            "value": -u.d("t")
            - self.diffusion * u.laplacian
            + self.hamiltonian(x, p, m)
            - self.running_cost(x, t, m, mean),
            "density": log_m.d("t") - self.diffusion * spreading - transport,
        }

    def _divergence(self, u: Field, x: Columns, p: Columns, m: Tensor, ascent: Columns) -> Tensor:
        """``div H_p(x, ∇u(x), m(x))``: (n,)."""
        kind = type(self)
        if kind.hamiltonian is MeanFieldGame.hamiltonian and kind.slope is MeanFieldGame.slope:
            return u.laplacian
        total = torch.zeros_like(m)
        for place, name in enumerate(self.space):
            along = tuple(torch.full_like(m, float(place == other)) for other in range(len(x)))
            bend = tuple(u.d(name, other) for other in self.space)
            at, towards = (tuple(x), tuple(p), m), (along, bend, m * ascent[place])
            change: tuple[Tensor, ...] = torch.func.jvp(self.slope, at, towards)[1]
            total = total + change[place]
        return total


def squares(columns: Columns) -> Any:
    """``|x|²``: (n,) of columns (n,)."""
    return dot(columns, columns)


def dot(first: Columns, second: Columns) -> Any:
    """``x·y``: (n,) of columns (n,)."""
    total = first[0] * second[0]
    for one, other in zip(first[1:], second[1:], strict=True):
        total = total + one * other
    return total
