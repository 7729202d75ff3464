"""A mean-field game of agents that like or shun company by the logarithm of its density.

    −u_t − νΔu + |∇u|²/2 = (β/2)|x|² + γ ln m        u(T) = α|x|²/2 − λT
     m_t − νΔm − div(m∇u) = 0                         m(0) = N(0, (ν/α) I)

With ``α = (−γ + √(γ² + 4ν²β))/(2ν)`` and ``λ = νdα + γ(d/2) ln(α/2πν)`` the population stays as it is and its value
falls steadily: ``u = α|x|²/2 − λt``, ``m = N(0, (ν/α) I)``.

Benchmark of Lin, Fung, Li, Nurbekyan, Osher, "Alternating the population and control neural networks to solve
high-dimensional stochastic mean-field games", PNAS 118 (2021) e2024713118.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pinn.geometry.normal_box import NormalBox
from pinn.mean_field_game import Columns, MeanFieldGame, squares
from pinn.references.reference import Exact
from training.errors import ConfigurationError

REACH = 5.0
"""Half the width of the box in standard deviations of the population."""

SPREAD = 1.6
"""Standard deviation of the collocation points, in that of the population."""


class LogCoupledGame(MeanFieldGame):
    """Company that costs ``γ ln m``, in any number of dimensions; ``H = |p|²/2``.

    Args:
        dimension: d; the coordinates are x, or x1, x2, …
        duration: T.
        diffusion: ν.
        pull: β, towards the origin.
        crowding: γ; positive shuns company, negative seeks it.
        hard: whether ``u = α|x|²/2 − λT + (1 − t/T) N`` holds, or enters the loss. The start of the density always
            enters the loss: built in, it would be the solution.
    """

    formula = (
        r"-u_t - \nu \Delta u + \frac{1}{2}|\nabla u|^2 = \frac{\beta}{2}|x|^2 + \gamma \ln m"
        "\n"
        r"m_t - \nu \Delta m - \nabla \cdot (m \nabla u) = 0"
    )

    def __init__(
        self,
        dimension: int = 1,
        duration: float = 1.0,
        diffusion: float = 0.5,
        pull: float = 1.0,
        crowding: float = 0.5,
        hard: bool = True,
    ) -> None:
        if dimension < 1 or not (pull > 0 and diffusion > 0):
            raise ConfigurationError(
                f"dimension is 1 or more, pull and diffusion are positive; got dimension={dimension}, pull={pull}, "
                f"diffusion={diffusion}."
            )
        self.title = f"Log-coupled mean-field game, d = {dimension}"
        self.pull, self.crowding = pull, crowding
        self.alpha = (math.sqrt(crowding**2 + 4 * diffusion**2 * pull) - crowding) / (2 * diffusion)
        self.variance = diffusion / self.alpha
        self.descent = dimension * (diffusion * self.alpha - crowding / 2 * math.log(2 * math.pi * self.variance))
        width = math.sqrt(self.variance)
        names = ["x"] if dimension == 1 else [f"x{place}" for place in range(1, dimension + 1)]
        ranges: dict[str, Any] = dict.fromkeys(names, (-REACH * width, REACH * width))
        space = NormalBox(spread=SPREAD * width, **ranges)
        self.play(space, duration, diffusion, {"u": hard, "log_m": False})
        self.reference = Exact(self.coordinates, {"u": self.value, "log_m": self.log_density})

    def running_cost(self, x: Columns, t: Tensor, m: Tensor, mean: Columns) -> Tensor:
        return squares(x) * (self.pull / 2) + self.crowding * torch.log(m)

    def terminal_cost(self, x: Columns, mean: Columns) -> Any:
        return squares(x) * (self.alpha / 2) - self.descent * self.domain.bounds["t"][1]

    def initial_log_density(self, x: Columns) -> Any:
        return squares(x) * (-0.5 / self.variance) - 0.5 * len(x) * math.log(2 * math.pi * self.variance)

    def draw_start(self, n: int, generator: torch.Generator) -> Tensor:
        noise = torch.randn(n, len(self.space), dtype=torch.float64, generator=generator)
        return math.sqrt(self.variance) * noise

    def value(self, *columns: Tensor) -> Tensor:
        """``u = α|x|²/2 − λt``"""
        *x, t = columns
        return self.alpha / 2 * squares(x) - self.descent * t

    def log_density(self, *columns: Tensor) -> Tensor:
        """``ln m``, the same at all times."""
        *x, t = columns
        return self.initial_log_density(x) + 0 * t

    def evaluation_points(self) -> Tensor:
        """20,000 places of agents at random times."""
        generator = torch.Generator().manual_seed(0)
        places = self.draw_start(20_000, generator)
        times = self.domain.bounds["t"][1] * torch.rand(len(places), 1, dtype=torch.float64, generator=generator)
        points = torch.cat([places, times], dim=1)
        return points[self.domain.contains(points)]
