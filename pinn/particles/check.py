"""Agents as the second opinion on a solved game: they follow the network's own drift, and their density is compared
with the network's.

The two equations of a game were solved by one network. Agents know its value function alone: that their density is the
network's says that the second equation is solved, independently of any reference. Every number has two companions: the
standard error over populations with other noise, and what as many agents would show that were drawn from the network's
density itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from pinn.draws import interpolated
from pinn.mean_field_game import MeanFieldGame
from pinn.particles.agents import Agents, Drift
from pinn.particles.bandwidth import scott
from pinn.particles.density import density
from pinn.particles.distances import wasserstein_to_quantiles
from pinn.particles.marginals import Marginals, NetworkDensity
from pinn.particles.network_drift import NetworkDrift
from pinn.particles.table import DriftTable
from pinn.solve.solution import Solution
from training.errors import InputError

PLACES = 201
"""Places along a coordinate where densities are compared."""


CELLS = 2000
"""In which the network's mass is gathered before it is seen through the agents' kernel."""


@dataclass(frozen=True)
class Measured:
    """A number with its error bar.

    Attributes:
        value: mean over the populations.
        error: one standard error of it.
        by_chance: the same for as many agents drawn from the network's density.
    """

    value: float
    error: float
    by_chance: float


@dataclass(frozen=True)
class Moment:
    """The comparison at one time; means over the coordinates where there are several.

    Attributes:
        time: of it.
        mass, mass_error: integral of the network's density, and its standard error where it was sampled.
        wasserstein: distance W₁ between agents and density, in units of length.
        density_l1: ``∫|m_agents − m| dx`` of both densities seen through the same kernel; at most 2.
        places: (k,) along the first coordinate.
        agents, network: densities there, through the same kernel, (k,).
        spread: one standard error of the agents' density, (k,).
    """

    time: float
    mass: float
    mass_error: float
    wasserstein: Measured
    density_l1: Measured
    places: Tensor
    agents: Tensor
    network: Tensor
    spread: Tensor


@dataclass(frozen=True)
class AgentCheck:
    """What the agents say about a solution.

    Attributes:
        agents: in each population.
        populations: with noise of their own.
        steps: in time.
        errors: relative L2 error of the density m itself where there is a reference, on the evaluation points.
        moments: in order of time.
    """

    agents: int
    populations: int
    steps: int
    errors: Mapping[str, float]
    moments: tuple[Moment, ...]

    def figures(self) -> dict[str, float]:
        """The worst over time, flat, for ``summary.json``."""
        far = max(self.moments, key=lambda moment: moment.wasserstein.value)
        apart = max(self.moments, key=lambda moment: moment.density_l1.value)
        lost = max(self.moments, key=lambda moment: abs(moment.mass - 1))
        return {
            **{f"relative_l2_{name}": error for name, error in self.errors.items()},
            "mass_error": abs(lost.mass - 1),
            "mass_error_error": lost.mass_error,
            **_flat("agents_w1", far.wasserstein),
            **_flat("agents_l1", apart.density_l1),
        }

    def details(self) -> dict[str, Any]:
        """Everything but the curves, nested, as JSON values."""
        return {
            "agents": self.agents,
            "populations": self.populations,
            "steps": self.steps,
            "moments": [
                {
                    "time": moment.time,
                    "mass": moment.mass,
                    "mass_error": moment.mass_error,
                    "wasserstein": asdict(moment.wasserstein),
                    "density_l1": asdict(moment.density_l1),
                }
                for moment in self.moments
            ],
        }


def check_agents(
    solution: Solution,
    seed: int = 0,
    agents: int | None = None,
    populations: int = 4,
    steps: int | None = None,
    moments: int = 5,
) -> AgentCheck:
    """Let agents play a solved game.

    They take Heun steps; on a line the drift is read from a table with 2,001 nodes.

    Args:
        solution: of a `MeanFieldGame`.
        seed: of all noise.
        agents: in each population; 50,000 on a line and 4,000 in more dimensions unless given.
        populations: two or more, for the error bars.
        steps: over the whole time; 50 on a line and 20 in more dimensions unless given.
        moments: after the start at which densities are compared.

    Raises:
        InputError: if the solution is of no game, or a number is too small.
    """
    game = solution.problem
    if not isinstance(game, MeanFieldGame):
        raise InputError(f"Agents play games; {type(game).__name__} is no MeanFieldGame.")
    on_a_line = len(game.space) == 1
    count = agents or (50_000 if on_a_line else 4_000)
    steps = steps or (50 if on_a_line else 20)
    if populations < 2 or steps < moments or moments < 1:
        raise InputError(
            f"Two populations and one step per moment at least; got populations={populations}, steps={steps}, "
            f"moments={moments}."
        )
    m = network_density(solution)
    assert game.time is not None
    start, end = game.domain.bounds[game.time]
    drift = agents_drift(game, solution, steps)
    tracks = []
    for number in range(populations):
        generator = torch.Generator().manual_seed(seed + number)
        crowd = Agents(
            game.draw_start(count, generator), drift, math.sqrt(2 * game.diffusion), generator, scheme="heun"
        )
        every = -(-steps // moments)
        tracks.append([(t, crowd.places.clone()) for t in crowd.snapshots(start, end, steps, every)])
    found = []
    for places in zip(*tracks, strict=True):
        t, crowds = places[0][0], [crowd for _, crowd in places]
        found.append(_compare(t, crowds, m.marginals(t, torch.cat(crowds), seed), seed))
    return AgentCheck(count, populations, steps, density_errors(solution), tuple(found))


def agents_drift(game: MeanFieldGame, solution: Solution, steps: int) -> Drift:
    """The network's drift; on a line as a table over the box."""
    drift = NetworkDrift(game, solution.network.network, _parameters(solution))
    if len(game.space) > 1:
        return drift
    assert game.time is not None
    times = torch.linspace(*game.domain.bounds[game.time], steps + 1, dtype=torch.float64)
    return DriftTable.of(drift, times, *game.domain.bounds[game.space[0]])


def density_errors(solution: Solution) -> dict[str, float]:
    """Relative L2 error of m on the evaluation points; empty without a reference."""
    problem = solution.problem
    if problem.reference is None or "log_m" not in problem.reference.fields:
        return {}
    assert isinstance(problem, MeanFieldGame)
    points = problem.evaluation_points()
    exact = problem.reference.values(points)["log_m"].exp()
    found = network_density(solution).log(points).exp()
    return {"m": float((found - exact).norm() / exact.norm())}


def network_density(solution: Solution) -> NetworkDensity:
    """The density of a solved game."""
    assert isinstance(solution.problem, MeanFieldGame)
    return NetworkDensity(solution.problem, solution.network.network, _parameters(solution))


def _parameters(solution: Solution) -> dict[str, Tensor]:
    return {name: torch.tensor([value], dtype=torch.float64) for name, value in solution.parameters.items()}


def _compare(t: float, crowds: Sequence[Tensor], marginals: Marginals, seed: int) -> Moment:
    d, n = crowds[0].shape[1], len(crowds[0])
    generator = torch.Generator().manual_seed(seed)
    far, apart, far_by_chance, apart_by_chance = [], [], [], []
    curves: list[Any] = []
    for k in range(d):
        places, cumulative = marginals.places[k], marginals.cumulative(k)
        columns = [crowd[:, k] for crowd in crowds]
        drawn = [
            interpolated(torch.rand(n, dtype=torch.float64, generator=generator), cumulative, places) for _ in columns
        ]
        far.append([wasserstein_to_quantiles(column, places, cumulative) for column in columns])
        far_by_chance.append([wasserstein_to_quantiles(column, places, cumulative) for column in drawn])
        h = float(scott(columns[0]))
        pooled = torch.cat(columns)
        at = torch.linspace(float(pooled.min()) - 3 * h, float(pooled.max()) + 3 * h, PLACES, dtype=torch.float64)
        network = smoothed(places, cumulative, at, h)
        seen = [_kernels(column, at, h) for column in columns]
        apart.append([_l1(one, network, at) for one in seen])
        apart_by_chance.append([_l1(_kernels(column, at, h), network, at) for column in drawn])
        if k == 0:
            curves = [at, torch.stack(seen).mean(0), network, torch.stack(seen).std(0) / math.sqrt(len(seen))]
    return Moment(
        t,
        marginals.mass,
        marginals.mass_error,
        _measured(far, far_by_chance),
        _measured(apart, apart_by_chance),
        *curves,
    )


def smoothed(places: Tensor, cumulative: Tensor, at: Tensor, h: float) -> Tensor:
    """The density of a distribution function seen through a Gaussian kernel of width h: (k,) at ``at``.

    Args:
        places: (n,) in order.
        cumulative: (n,) the distribution function there.
        at: (k,).
        h: much larger than a thousandth of the range of ``at``.
    """
    nodes = torch.linspace(float(at[0]) - 8 * h, float(at[-1]) + 8 * h, CELLS + 1, dtype=torch.float64)
    masses = interpolated(nodes, places, cumulative).diff()
    kernels = torch.exp(-0.5 * ((at[:, None] - (nodes[1:] + nodes[:-1]) / 2) / h) ** 2)
    return kernels @ masses / (math.sqrt(2 * math.pi) * h)


def _kernels(particles: Tensor, at: Tensor, h: float) -> Tensor:
    return density(particles, at, h)


def _l1(first: Tensor, second: Tensor, at: Tensor) -> float:
    return float(torch.trapezoid((first - second).abs(), at))


def _measured(rows: Sequence[Sequence[float]], by_chance: Sequence[Sequence[float]]) -> Measured:
    """From one value per coordinate and population."""
    each = torch.tensor(rows, dtype=torch.float64).mean(0)
    chance = torch.tensor(by_chance, dtype=torch.float64).mean()
    return Measured(float(each.mean()), float(each.std()) / math.sqrt(len(each)), float(chance))


def _flat(name: str, measured: Measured) -> dict[str, float]:
    return {
        name: measured.value,
        f"{name}_error": measured.error,
        f"{name}_by_chance": measured.by_chance,
    }
