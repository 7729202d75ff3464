"""Agents: the right process, walls that count, the same numbers from the same seed."""

import math

import pytest
import torch

from pinn.particles.agents import Agents
from pinn.particles.table import DriftTable
from pinn.particles.walls import Walls
from training.errors import InputError

RATE, NOISE = 1.5, 0.8


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def home(places, t):
    """An Ornstein–Uhlenbeck process."""
    return -RATE * places


def table_of(drift, low=-8.0, high=8.0, nodes=2001):
    return DriftTable.of(drift, torch.tensor([0.0], dtype=torch.float64), low, high, nodes)


def exact_moments(t, mean, variance):
    decay = math.exp(-RATE * t)
    rest = NOISE**2 / (2 * RATE)
    return mean * decay, rest + (variance - rest) * decay**2


@pytest.mark.parametrize(
    ("scheme", "steps", "tabled"),
    [("euler", 200, False), ("euler", 200, True), ("heun", 20, False)],
    ids=["euler", "euler by table", "heun"],
)
def test_an_ornstein_uhlenbeck_process_has_its_mean_and_variance(scheme, steps, tabled):
    n = 40_000
    start = 2.0 + 0.5 * torch.randn(n, 1, dtype=torch.float64, generator=seeded(1))
    agents = Agents(start, table_of(home) if tabled else home, NOISE, seeded(2), scheme=scheme)
    for t in agents.snapshots(0.0, 1.0, steps, steps // 4):
        mean, variance = exact_moments(t, float(start.mean()), float(start.var()))
        # four standard errors, and the error of the steps: first order for Euler, second for Heun
        step = RATE / steps if scheme == "euler" else (RATE / steps) ** 2
        assert abs(float(agents.places.mean()) - mean) < 4 * math.sqrt(variance / n) + step * abs(mean)
        assert abs(float(agents.places.var()) - variance) < 4 * variance * math.sqrt(2 / n) + 2 * step * variance
    assert t == pytest.approx(1.0)


def test_noise_alone_spreads_independently_in_every_direction():
    agents = Agents(torch.zeros(20_000, 3).double(), lambda x, t: 0 * x, 0.6, seeded())
    agents.run(0.0, 2.0, 10)
    covariance = torch.cov(agents.places.T)
    # 0.36 · 2 on the diagonal; 5 standard errors
    torch.testing.assert_close(covariance, 0.72 * torch.eye(3).double(), rtol=0, atol=5 * 0.72 * math.sqrt(2 / 20_000))


def test_without_noise_agents_follow_the_drift():
    agents = Agents(torch.tensor([1.0, 2.0]), lambda x, t: x * math.cos(t), 0.0, seeded(), scheme="heun")
    agents.run(0.0, 2.0, 400)
    torch.testing.assert_close(
        agents.places[:, 0], torch.tensor([1.0, 2.0]).double() * math.exp(math.sin(2.0)), rtol=1e-4, atol=0
    )


class TestSeeds:
    def test_the_same_seed_gives_the_same_places_whatever_the_chunks(self):
        start = torch.randn(5000, 2, dtype=torch.float64, generator=seeded())
        runs = [Agents(start, home, NOISE, seeded(7), chunk=chunk) for chunk in (100_000, 700)]
        for run in runs:
            run.run(0.0, 1.0, 5)
        assert torch.equal(runs[0].places, runs[1].places)
        other = Agents(start, home, NOISE, seeded(8))
        other.run(0.0, 1.0, 5)
        assert not torch.equal(other.places, runs[0].places)
        assert torch.equal(start, torch.randn(5000, 2, dtype=torch.float64, generator=seeded())), "start was moved"

    @pytest.mark.parametrize("kind", ["open", "periodic", "reflecting", "absorbing"])
    def test_a_table_is_the_drift_it_was_made_from(self, kind):
        walls = Walls(kind, -1.0, 1.0) if kind != "open" else Walls()
        start = torch.linspace(-1, 1, 3000, dtype=torch.float64)
        table = table_of(home, -1.0, 1.0, 101)
        pair = [Agents(start, drift, NOISE, seeded(3), walls) for drift in (table, lambda x, t: table(x, t))]
        for agents in pair:
            agents.run(0.0, 0.5, 20)
        torch.testing.assert_close(pair[0].places, pair[1].places, rtol=0, atol=1e-12)
        assert torch.equal(pair[0].alive, pair[1].alive) and torch.equal(pair[0].crossings, pair[1].crossings)
        # a straight line is kept between nodes and beyond
        torch.testing.assert_close(
            table(torch.tensor([[0.123], [5.0]]).double(), 0.3), home(torch.tensor([[0.123], [5.0]]).double(), 0.0)
        )


class TestWalls:
    def test_a_periodic_drift_is_a_flux_through_one_end(self):
        n = 1000
        start = torch.arange(n, dtype=torch.float64) / n
        agents = Agents(start, lambda x, t: 0 * x + 0.7, 0.0, seeded(), Walls("periodic", 0.0, 1.0))
        agents.run(0.0, 1.0, 50)
        # seven tenths of them go once through the upper end
        assert agents.crossings.tolist() == [[0, pytest.approx(700, abs=1)]]
        wanted = torch.remainder(start + 0.7, 1.0)
        gap = (agents.places[:, 0] - wanted).abs()
        assert torch.minimum(gap, 1 - gap).max() < 1e-12

    def test_reflected_agents_stay_inside_and_become_uniform(self):
        agents = Agents(
            torch.full((40_000,), 0.2).double(), lambda x, t: 0 * x, 1.0, seeded(), Walls("reflecting", 0.0, 1.0)
        )
        agents.run(0.0, 1.0, 100)
        x = agents.places[:, 0]
        assert float(x.min()) >= 0 and float(x.max()) <= 1 and agents.alive.all()
        # the slowest mode has decayed by exp(−π²/2) = 0.7 %
        assert abs(float(x.mean()) - 0.5) < 0.007 + 5 * math.sqrt(1 / 12 / 40_000)
        assert abs(float(x.var()) - 1 / 12) < 0.002
        assert (agents.crossings > 10_000).all()

    def test_absorbed_agents_are_counted_once_and_stay(self):
        n = 40_000
        agents = Agents(torch.full((n,), 0.5).double(), lambda x, t: 0 * x, 1.0, seeded(), Walls("absorbing", 0.0, 1.0))
        agents.run(0.0, 0.2, 400)
        gone = n - int(agents.alive.sum())
        assert int(agents.crossings.sum()) == gone
        assert set(agents.places[~agents.alive, 0].tolist()) == {0.0, 1.0}
        # survival of Brownian motion between two walls; seen every step only, each wall lies 0.58 √dt further out
        length = 1 + 2 * 0.5826 * math.sqrt(0.2 / 400)
        modes = [
            4 / math.pi * (-1) ** k / (2 * k + 1) * math.exp(-(((2 * k + 1) * math.pi / length) ** 2) * 0.1)
            for k in range(20)
        ]
        assert abs(1 - gone / n - sum(modes)) < 5 * math.sqrt(0.25 / n) + 0.003
        low, high = agents.crossings[0].tolist()
        assert abs(low - high) < 5 * math.sqrt(gone)

    def test_every_coordinate_has_its_own_walls(self):
        walls = (Walls("periodic", 0.0, 1.0), Walls("absorbing", -1.0, 1.0))
        agents = Agents(torch.full((2000, 2), 0.5).double(), lambda x, t: 0 * x + 1.0, 0.1, seeded(), walls)
        agents.run(0.0, 1.0, 20)
        assert not agents.alive.any() and agents.crossings[1].tolist() == [0, 2000]
        assert float(agents.places[:, 0].min()) >= 0 and float(agents.places[:, 0].max()) < 1
        # they end where they were when they were absorbed, at t = 1/2 and x = 1: periodic places about 0
        assert agents.crossings[0, 1] > 500


def test_a_million_agents_go_through_a_network_in_chunks():
    seen = []

    def drift(places, t):
        seen.append(len(places))
        return -places

    agents = Agents(torch.zeros(1_000_000, 1), drift, 1.0, seeded(), chunk=300_000)
    agents.run(0.0, 0.1, 1)
    assert seen == [300_000, 300_000, 300_000, 100_000]
    assert float(agents.places.std()) == pytest.approx(math.sqrt(0.1), rel=5e-3)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda x: Agents(x, home, -1.0, seeded()), "noise is zero or positive"),
        (lambda x: Agents(x, home, 1.0, seeded(), (Walls(), Walls())), "in 1 dimensions have walls for each; got 2"),
        (lambda x: Agents(x, home, 1.0, seeded(), scheme="milstein"), "euler or heun; got 'milstein'"),
        (lambda x: Agents(x, home, 1.0, seeded()).run(0, 1, 0), "one step at least"),
        (lambda x: DriftTable(torch.zeros(2), 0, 1, torch.zeros(1, 5)), "one row of two or more nodes per time"),
        (lambda x: DriftTable(torch.tensor([0.0, 1.0]), 0, 1, torch.zeros(2, 5)).at(1.5), "from t=0 to t=1; got 1.5"),
    ],
)
def test_impossible_agents_are_named(build, message):
    with pytest.raises(InputError, match=message):
        build(torch.zeros(3, 1))
