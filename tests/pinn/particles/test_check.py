"""Agents as the second opinion: content with a right solution, and not with a wrong one."""

import math

import pytest
import torch

from pinn.jets.layout import JetLayout
from pinn.particles.check import check_agents, network_density
from pinn.particles.cloud import AgentCloud
from pinn.particles.figures import draw_agents
from pinn.particles.network_drift import NetworkDrift
from pinn.problems.mean_field_game import LinearQuadraticGame
from pinn.residuals import fields_at, prepare
from pinn.solve.solution import Solution
from pinn.solve.trial import untrained
from training.errors import InputError

NETWORK = {"_target_": "pinn.networks.MLP", "width": 8, "depth": 2, "activation": "tanh"}


class Told(LinearQuadraticGame):
    """A game whose ansatz is its exact solution plus a small network: solved, without training.

    ``wrong`` is added to the exact ``ln m`` as ``wrong · t (x − μ)``, a density that has moved too far.
    """

    def __init__(self, dimension=1, wrong=0.0):
        self.wrong = wrong
        super().__init__(dimension)

    def ansatz_terms(self, coordinates, parameters=None, fields=None):
        *x, t = (coordinates[name] for name in self.coordinates)
        away = x[0] - self.exact.mean_at(t)
        log_m = self.exact.log_density(*x, t) + self.wrong * t * away
        return {"u": (self.exact.value(*x, t), t * 0.0), "log_m": (log_m, t * 0.0)}

    def check(self):
        """A lift that is the solution is no form of a problem that others should solve."""


def told(dimension=1, wrong=0.0):
    game = Told(dimension, wrong)
    return Solution(game, untrained(game, NETWORK, 0))


@pytest.fixture(scope="module")
def right():
    return check_agents(told(), agents=20_000, steps=20, moments=2)


def test_agents_agree_with_a_right_solution_as_well_as_chance_allows(right):
    assert (right.agents, right.populations, right.steps) == (20_000, 4, 20)
    assert [moment.time for moment in right.moments] == pytest.approx([0.5, 1.0])
    for moment in right.moments:
        assert moment.mass == pytest.approx(1.0, abs=1e-5) and moment.mass_error == 0.0
        far, apart = moment.wasserstein, moment.density_l1
        # what comes from the finite number of agents is half of it or more
        assert far.value < 2 * far.by_chance + 2 * far.error and apart.value < 1.5 * apart.by_chance
        # W₁ of n draws is about 0.8 σ/√n on average
        assert 0.3 < far.by_chance * math.sqrt(20_000) / 0.5 < 1.5
        assert 0 < far.error < far.value and moment.spread.max() > 0
    assert right.errors["m"] < 1e-12


@pytest.mark.parametrize("wrong", [-0.5, 0.5])
def test_agents_disagree_with_a_wrong_density(wrong):
    found = check_agents(told(wrong=wrong), agents=5_000, steps=20, populations=2)
    last = found.moments[-1]
    # a tilt of a Gaussian by its place moves it by half its variance; chance adds a few hundredths of that
    variance = float(LinearQuadraticGame().exact.variance_at(torch.ones(1).double()))
    assert last.wasserstein.value == pytest.approx(0.5 * variance, rel=0.1)
    assert last.density_l1.value > 10 * last.density_l1.by_chance / 4
    assert found.figures()["agents_w1"] == last.wasserstein.value
    # the tilt makes it heavier by exp(w² v/2)
    assert last.mass == pytest.approx(math.exp(0.125 * variance), rel=1e-5)
    assert found.figures()["mass_error"] == pytest.approx(abs(last.mass - 1))


@pytest.mark.parametrize("dimension", [2, 4])
def test_more_dimensions_are_compared_one_coordinate_after_another(dimension):
    found = check_agents(told(dimension), agents=4_000, steps=10, moments=1)
    (moment,) = found.moments
    # Sobol points beyond two dimensions; four standard errors of the mass they find
    assert abs(moment.mass - 1) < 1e-5 + 4 * moment.mass_error and moment.mass_error < 1e-3
    assert moment.wasserstein.value < 2 * moment.wasserstein.by_chance


def test_figures_and_details_are_plain_numbers(right, tmp_path):
    figures = right.figures()
    assert set(figures) == {
        "relative_l2_m",
        "mass_error",
        "mass_error_error",
        *(f"agents_{kind}{end}" for kind in ("w1", "l1") for end in ("", "_error", "_by_chance")),
    }
    assert all(type(value) is float and math.isfinite(value) for value in figures.values())
    assert len(right.details()["moments"]) == 2
    drawn = draw_agents(tmp_path, right, "x")
    assert [figure.name for figure in drawn] == ["agents_density", "agents_distance"]
    assert all(figure.svg.stat().st_size > 5_000 and "20,000" in drawn[0].caption for figure in drawn)


def test_the_drift_is_the_networks_slope_with_the_other_sign():
    game = LinearQuadraticGame(dimension=2)
    trial = untrained(game, NETWORK, 1)
    places = torch.rand(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    points = torch.cat([places, torch.full((50, 1), 0.3, dtype=torch.float64)], dim=1).requires_grad_()
    columns = {name: points[:, k : k + 1] for k, name in enumerate(game.coordinates)}
    output = trial.network(points)
    numbers = {name: value.detach() for name, value in trial.values(game).items()}
    u = game.ansatz({"u": output[:, :1], "log_m": output[:, 1:]}, columns, numbers)["u"]
    (slope,) = torch.autograd.grad(u.sum(), points)
    torch.testing.assert_close(
        NetworkDrift(game, trial.network, numbers)(places, 0.3), -slope[:, :2], rtol=1e-10, atol=1e-12
    )


def test_the_density_is_the_exponential_of_its_field():
    solution = told()
    points = solution.problem.evaluation_points()[:100]
    prepared = prepare(solution.problem, solution.network.network, points, JetLayout(("x", "t")))
    with torch.no_grad():
        field = fields_at(solution.network.network, prepared)["log_m"]
    torch.testing.assert_close(network_density(solution).log(points), field.value, rtol=1e-14, atol=0)


def test_a_cloud_is_where_agents_are_at_all_times():
    solution = told()
    game = solution.problem
    cloud = AgentCloud(game, solution.network.network)
    points = cloud(10_000, torch.Generator().manual_seed(0))
    assert torch.equal(points, cloud(10_000, torch.Generator().manual_seed(0)))
    assert points.shape[1] == 2 and len(points) > 9_990 and game.domain.contains(points).all()
    z = (points[:, 0] - game.exact.mean_at(points[:, 1])) / game.exact.variance_at(points[:, 1]).sqrt()
    # 400 agents, seen 25 times each; Euler steps of 1/25
    assert abs(float(z.mean())) < 4 / math.sqrt(400) and abs(float(z.std()) - 1) < 4 / math.sqrt(800) + 0.03
    assert abs(float(points[:, 1].mean()) - 0.5) < 4 / math.sqrt(12 * 10_000)


def test_what_agents_cannot_check_is_named():
    with pytest.raises(InputError, match="Two populations and one step per moment"):
        check_agents(told(), populations=1)
    with pytest.raises(InputError, match="Heat is no MeanFieldGame"):
        from pinn.problems.heat import Heat

        heat = Heat()
        check_agents(Solution(heat, untrained(heat, NETWORK, 0)))
