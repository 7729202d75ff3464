"""Mean-field games: exact solutions, a second reference by finite differences, and Hamiltonians of one's own."""

import math

import numpy as np
import pytest
import torch
from known_fields import AutogradField, exact_fields, true_parameters
from picard import Picard

from pinn.draws import draw
from pinn.geometry import Box, Interval
from pinn.mean_field_game import MeanFieldGame, squares
from pinn.population_mean import MeanPath
from pinn.problems.log_coupled_game import LogCoupledGame
from pinn.problems.mean_field_game import LinearQuadraticGame
from training.errors import ConfigurationError

GAMES = {
    f"{kind.__name__} in {d}": (lambda kind=kind, d=d, more=more: kind(dimension=d, **more))
    # a polynomial of the eleventh degree is the path of the mean to rounding
    for kind, more in ((LinearQuadraticGame, {"mean_nodes": 12}), (LogCoupledGame, {}))
    for d in (1, 2, 10)
}


@pytest.fixture(params=GAMES.values(), ids=GAMES.keys())
def game(request):
    return request.param()


class TestEveryGame:
    def test_its_exact_solution_solves_it_to_rounding(self, game):
        points = game.evaluation_points()[:200]
        fields, columns = exact_fields(game, points)
        found = game.residuals(fields, columns, true_parameters(game))
        assert set(found) == {"value", "density"}
        for term, residual in found.items():
            # terms are of the order of ten per dimension
            assert residual.abs().max() < 1e-12 * len(game.space), term

    def test_its_exact_solution_starts_and_ends_as_prescribed(self, game):
        generator = torch.Generator().manual_seed(0)
        for condition in game.conditions[:2]:
            given = condition.sample(game.domain, 50, generator)
            fields, columns = exact_fields(game, given.points)
            for residual in condition.residuals(fields, columns, given, true_parameters(game)).values():
                assert residual.abs().max() < 1e-12 * len(game.space)

    def test_agents_start_where_the_density_says(self, game):
        places = game.draw_start(40_000, torch.Generator().manual_seed(0))
        bottom = game.domain.bounds["t"][0]
        at = {name: places[:, k] for k, name in enumerate(game.space)}
        log_m = game.reference.functions["log_m"](*at.values(), torch.full((len(places),), bottom, dtype=torch.float64))
        # the mean of ln m over N(μ, v I) is −d/2 (1 + ln 2πv); 5 standard errors
        variance = game.exact.variance if isinstance(game, LinearQuadraticGame) else game.variance
        d = len(game.space)
        expected = -d / 2 * (1 + math.log(2 * math.pi * variance))
        assert abs(float(log_m.mean()) - expected) < 5 * math.sqrt(d / 2 / len(places))

    def test_its_box_holds_the_agents_and_half_of_its_points_are_near_them(self, game):
        points = game.evaluation_points()
        assert len(points) > 19_990
        drawn = game.domain.sample(2000, torch.Generator().manual_seed(0), "sobol")
        t = points[:, -1:]
        assert float(t.min()) < 0.01 and float(t.max()) > 0.99
        log_m, typical = (game.reference.values(some)["log_m"] for some in (drawn, points))
        # even in ten dimensions, drawn points have a density that agents see
        assert float((log_m > typical.min()).double().mean()) > (0.5 if len(game.space) <= 2 else 0.05)


def residuals_of(game, u, log_m, columns):
    fields = {
        name: AutogradField(name, formula(*columns.values()), columns, game.space)
        for name, formula in (("u", u), ("log_m", log_m))
    }
    return game.residuals(fields, columns)


def wave(*columns):
    """A smooth function without symmetry."""
    phase = sum((k + 1.3) * column for k, column in enumerate(columns))
    return torch.sin(phase) + 0.3 * columns[0] ** 2 * columns[-1]


def bump(*columns):
    return -0.4 * sum((column - 0.2) ** 2 for column in columns) + 0.1 * torch.sin(columns[0])


class Free(MeanFieldGame):
    """No costs; a constant initial density will do for the equations."""

    title, formula = "Free", "u"

    def __init__(self, dimension=1, diffusion=0.3):
        self.play(Box(**{f"x{k}": (-1.0, 1.0) for k in range(dimension)}), 1.0, diffusion)

    def terminal_cost(self, x, mean):
        return squares(x)

    def initial_log_density(self, x):
        return -squares(x)


class WrittenOut(Free):
    def hamiltonian(self, x, p, m):
        return sum(column**2 for column in p) / 2


class Congested(Free):
    """Effort costs more in a crowd, and to the right; its slope by automatic differentiation."""

    def hamiltonian(self, x, p, m):
        return squares(p) / (2 * (1 + m)) + torch.sin(x[0]) * p[-1] + 0.1 * p[0] ** 4


class CongestedByHand(Congested):
    def slope(self, x, p, m):
        found = [column / (1 + m) for column in p]
        found[-1] = found[-1] + torch.sin(x[0])
        found[0] = found[0] + 0.4 * p[0] ** 3
        return tuple(found)


@pytest.fixture(params=[1, 2, 3])
def columns(request):
    points = 2 * torch.rand(40, request.param + 1, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) - 1
    names = [*(f"x{k}" for k in range(request.param)), "t"]
    return {name: column.clone().requires_grad_() for name, column in zip(names, points.unbind(1), strict=True)}


def test_a_hamiltonian_that_is_written_out_is_the_one_that_is_built_in(columns):
    d = len(columns) - 1
    built_in, written = (residuals_of(kind(d), wave, bump, columns) for kind in (Free, WrittenOut))
    for term, residual in built_in.items():
        torch.testing.assert_close(written[term], residual, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", [Free, Congested, CongestedByHand])
def test_the_density_equation_is_transport_with_diffusion(columns, kind):
    """``m_t − νΔm − div(m H_p)``, differentiated as it stands, over m."""
    game = kind(len(columns) - 1)
    x = [columns[name] for name in game.space]
    value, m = wave(*columns.values()), torch.exp(bump(*columns.values()))

    def slope(of, by):
        return torch.autograd.grad(of.sum(), by, create_graph=True)[0]

    p = [slope(value, column) for column in x]
    flux = [m * h for h in game.slope(x, p, m)]
    inner = slope(m, columns["t"])
    for column, part in zip(x, flux, strict=True):
        inner = inner - slope(part, column) - game.diffusion * slope(slope(m, column), column)
    found = residuals_of(game, wave, bump, columns)["density"]
    torch.testing.assert_close(found, inner / m, rtol=1e-10, atol=1e-10)


def test_agents_go_down_the_value_and_noise_spreads_the_density():
    game, reversed_sign = Free(), Free(diffusion=1e-9)
    x = [torch.linspace(-1, 1, 5, dtype=torch.float64)]
    p = [2 * x[0]]
    assert torch.equal(game.velocity(x, p, x[0])[0], -p[0])
    columns = {"x0": x[0].clone().requires_grad_(), "t": torch.zeros(5, dtype=torch.float64, requires_grad=True)}

    def squeezed(x0, t):
        return -(x0**2) + 0 * t

    # without a value, only diffusion moves a Gaussian: ℓ_t − ν(ℓ_xx + ℓ_x²) with ℓ = −x²
    found = residuals_of(game, lambda x0, t: 0 * x0 * t, squeezed, columns)["density"]
    torch.testing.assert_close(found, -game.diffusion * (4 * columns["x0"] ** 2 - 2))
    # agents that go towards the origin make it denser there: m_t = div(m x) > 0 at x = 0
    found = residuals_of(reversed_sign, lambda x0, t: x0**2 / 2 + 0 * t, squeezed, columns)["density"]
    assert found[2] < -0.99


def test_finite_differences_find_the_same_game():
    game = LinearQuadraticGame()
    solver = Picard(game)
    u, m, mean, rounds = solver.solve()
    x, t = np.meshgrid(solver.x, solver.t)
    exact = game.reference.values(torch.from_numpy(np.stack([x.ravel(), t.ravel()], axis=1)))
    true_m = exact["log_m"].exp().numpy().reshape(x.shape)
    difference = u - exact["u"].numpy().reshape(x.shape)
    # first order in 250 steps; values count where agents are
    assert np.sqrt((true_m * difference**2).sum() / (true_m * u**2).sum()) < 1e-2
    assert np.linalg.norm(m - true_m) / np.linalg.norm(true_m) < 1e-2
    assert np.abs(mean - game.exact.mean_at(torch.from_numpy(solver.t)).numpy()).max() < 5e-3
    assert np.abs(m.sum(1) * solver.dx - 1).max() < 1e-3 and rounds > 3


class TestTheMeanOfAPopulation:
    @pytest.mark.parametrize("d", [1, 2, 10])
    def test_is_that_of_the_density_once_the_points_have_followed_it(self, d):
        game = LinearQuadraticGame(dimension=d)
        condition = game.conditions[2]
        given = condition.sample(game.domain, 0, torch.Generator())
        for _ in range(6):
            moved = condition.follow(game.domain, given, game.reference.values)
            given = given if moved is None else moved
        fields, columns = exact_fields(game, given.points)
        found = condition.residuals(fields, columns, given, true_parameters(game))
        assert set(found) == {f"mean.{name}" for name in game.space}
        for residual in found.values():
            # of 1.0 to 0.5; the box ends five standard deviations away
            assert residual.shape == (8,)
            assert residual.abs().max() < (2e-6 if d < 3 else 1e-3)

    def test_moves_with_density_and_numbers(self):
        game = LinearQuadraticGame()
        condition = game.conditions[2]
        given = condition.sample(game.domain, 0, torch.Generator())
        fields, columns = exact_fields(game, given.points)
        fields["log_m"].value = fields["log_m"].value + 0.3 * columns["x"]
        numbers = {name: value + 0.1 for name, value in true_parameters(game).items()}
        (residual,) = condition.residuals(fields, columns, given, numbers).values()
        # exp(λx) N(μ, v) is N(μ + λv, v)
        expected = 0.3 * game.exact.variance_at(game.mean_path.times) - 0.1
        torch.testing.assert_close(residual.detach(), expected, atol=1e-5, rtol=0)

    def test_is_a_polynomial_through_its_numbers(self):
        path = MeanPath(("x", "y"), 2.0, 5, 0.0)
        values = [*(path.times**3), *(1 - path.times)]
        t = torch.linspace(0, 2, 11, dtype=torch.float64)
        x, y = path.at(t, values)
        torch.testing.assert_close(x, t**3, atol=1e-14, rtol=0)
        torch.testing.assert_close(y, 1 - t, atol=1e-14, rtol=0)
        assert path.at_end(values) == [values[4], values[9]]

    def test_needs_two_times(self):
        with pytest.raises(ConfigurationError, match="at 2 or more times; got 1"):
            LinearQuadraticGame(mean_nodes=1)


def test_the_mean_that_agents_like_is_that_of_their_density():
    game = LinearQuadraticGame(share=0.3, company=2.0)
    x, t = torch.linspace(-4, 6, 4001, dtype=torch.float64), torch.tensor(0.6, dtype=torch.float64)
    m = game.exact.log_density(x, t.expand(len(x))).exp()
    assert torch.trapezoid(m, x).item() == pytest.approx(1, abs=1e-12)
    assert torch.trapezoid(m * x, x).item() == pytest.approx(float(game.exact.mean_at(t)), abs=1e-12)


@pytest.mark.parametrize("d", [1, 2])
def test_places_are_drawn_from_any_density(d):
    box = Box(**{f"x{k}": (-3.0, 3.0) for k in range(d)})

    def two_hills(x):
        hills = torch.stack([-((x[:, 0] - 1.5) ** 2) / 0.08, -((x[:, 0] + 1.5) ** 2) / 0.08 + math.log(3.0)])
        return torch.logsumexp(hills, 0) - (x[:, 1:] ** 2).sum(1) / 0.5

    places = draw(two_hills, box, 8_000, torch.Generator().manual_seed(0))
    assert places.shape == (8_000, d) and box.contains(places).all()
    left = places[:, 0] < 0
    # three quarters on the left; 5 standard errors, and chains do not cross between hills
    assert abs(float(left.double().mean()) - 0.75) < 5 * math.sqrt(0.75 * 0.25 / 8_000)
    assert abs(float(places[left, 0].std()) - 0.2) < 5 * 0.2 / math.sqrt(2 * 6_000)
    if d == 2:
        assert abs(float(places[:, 1].std()) - 0.5) < 5 * 0.5 / math.sqrt(2 * 8_000)
        assert len(places.unique(dim=0)) > 7_900


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LinearQuadraticGame(dimension=0), "dimension is 1 or more"),
        (lambda: LinearQuadraticGame(final=1.5), r"final=1.5 is too large: .* 1.414"),
        (lambda: LinearQuadraticGame(pull=0.0), "pull and variance are positive"),
        (lambda: LinearQuadraticGame(diffusion=0.0), "diffusion is positive; got 0.0"),
        (lambda: LogCoupledGame(pull=-1.0), "pull and diffusion are positive"),
    ],
)
def test_impossible_games_are_named(build, message):
    with pytest.raises(ConfigurationError, match=message):
        build()


def test_a_game_without_costs_is_named():
    class Nothing(MeanFieldGame):
        def __init__(self):
            self.play(Interval(x=(-1, 1)), 1.0, 0.1)

    with pytest.raises(ConfigurationError, match=r"Nothing has no terminal_cost"):
        Nothing()
