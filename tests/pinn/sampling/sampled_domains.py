"""What the samplers are tried on: two domains written out in full, and every sampler with small numbers."""

import torch

from pinn.sampling import (
    R3,
    RAD,
    RARD,
    RARG,
    Hierarchical,
    Importance,
    LatinHypercube,
    Particles,
    Sobol,
    Uncertainty,
    Uniform,
)


class Rectangle:
    """x from −1 to 1, t from 0 to 1; remembers every point it has given out."""

    coordinates = ("x", "t")
    bounds = {"x": (-1.0, 1.0), "t": (0.0, 1.0)}  # noqa: RUF012

    def __init__(self):
        self.given = []
        self.kinds = []

    def sample(self, n, generator, kind="uniform"):
        unit = torch.rand(n, 2, dtype=torch.float64, generator=generator)
        points = unit * torch.tensor([2.0, 1.0], dtype=torch.float64) - torch.tensor([1.0, 0.0], dtype=torch.float64)
        self.given.append(points)
        self.kinds.append(kind)
        return points

    def contains(self, points, tolerance=0.0):
        x, t = points.unbind(1)
        return (x.abs() <= 1 + tolerance) & (t >= -tolerance) & (t <= 1 + tolerance)


class Corner(Rectangle):
    """The rectangle without the quarter x > 0, t > 1/2."""

    def sample(self, n, generator, kind="uniform"):
        found = torch.empty(0, 2, dtype=torch.float64)
        while len(found) < n:
            points = super().sample(2 * n, generator, kind)
            found = torch.cat([found, points[self.contains(points)]])
        return found[:n]

    def contains(self, points, tolerance=0.0):
        x, t = points.unbind(1)
        return super().contains(points, tolerance) & ~((x > tolerance) & (t > 0.5 + tolerance))


def crowd(domain, n, generator, middle=0.5):
    """Agents that stand in a narrow strip about a share of the first coordinate, anywhere along the others."""
    ends = torch.tensor(list(domain.bounds.values()), dtype=torch.float64)
    unit = torch.rand(n, len(ends), dtype=torch.float64, generator=generator)
    unit[:, 0] = middle + 0.05 * torch.randn(n, dtype=torch.float64, generator=generator)
    return ends[:, 0] + (ends[:, 1] - ends[:, 0]) * unit


def followed():
    """A sampler that has agents to follow."""
    sampler = Particles(100, every=3, candidates=1000, uniform=0.4, agents=0.3, residual=0.3, paths=1000)
    sampler.follow(lambda n, generator: crowd(sampler.domain, n, generator))
    return sampler


SAMPLERS = {
    "uniform": lambda: Uniform(100, every=3),
    "latin_hypercube": lambda: LatinHypercube(100, every=3),
    "sobol": lambda: Sobol(100, every=3),
    "rad": lambda: RAD(100, every=3, candidates=1000),
    "rard": lambda: RARD(100, every=3, add=30, maximum=150, candidates=1000),
    "rarg": lambda: RARG(100, every=3, add=30, maximum=150, candidates=1000),
    "r3": lambda: R3(100, every=3),
    "importance": lambda: Importance(100, every=3, candidates=1000),
    "particles": followed,
    "uncertainty": lambda: Uncertainty(100, every=3, candidates=1000),
    "hierarchical": lambda: Hierarchical(100, every=3, candidates=500, cells=16, proposals=32),
}
ADAPTIVE = sorted(set(SAMPLERS) - {"uniform", "latin_hypercube", "sobol"})
REDRAWING = sorted(set(SAMPLERS) - {"rard", "rarg", "r3"})


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def started(sampler, domain=None, seed=0):
    sampler.start(domain or Rectangle(), generator(seed))
    return sampler


def ridge(points):
    """A smooth residual with a ridge at x = 0.3, between 0.1 and 1.1."""
    return 0.1 + torch.exp(-(((points[:, 0] - 0.3) / 0.2) ** 2))


def sweep(points):
    """An uncertainty that grows with t."""
    return 0.5 + points[:, 1]
