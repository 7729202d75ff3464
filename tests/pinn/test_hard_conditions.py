"""Hard conditions hold exactly for any network and leave it free inside; contradictions are found at construction."""

import math

import pytest
import torch

from pinn.conditions import Data, Dirichlet, Initial, Neumann, Periodic, Robin
from pinn.fields import record
from pinn.geometry import Box, Disk, Interval, Polygon, Time
from pinn.networks.mlp import MLP
from pinn.problem import Problem, Unknown
from pinn.residuals import fields_at, prepare
from training.errors import ConfigurationError

LINE = Interval(x=(0, 2))
STRIP = LINE * Time(0, 3)
PLATE = Box(x=(0, 1), y=(0, 2))
CORNER = Polygon([(-1, -1), (0, -1), (0, 0), (1, 0), (1, 1), (-1, 1)])
HOLED = PLATE - Disk((0.5, 1), 0.25, name="hole")


def sine(x):
    return torch.sin(torch.pi * x)


def quadric(x, y):
    return x * x - y * y + 3 * x * y


class Posed(Problem):
    """Conditions on a domain, with an equation that asks for nothing special."""

    def __init__(self, domain, conditions, fields=("u",), parameters=None, lift=None):
        self.domain, self.conditions, self.fields = domain, conditions, fields
        self.parameters = parameters or {}
        self.lift = lift

    def equations(self, u):
        return {"any": u.d(self.coordinates[0])}


CASES = {
    "both ends": (LINE, [Dirichlet("x=0", u=1.0, hard=True), Dirichlet("x=2", u=-2.0, hard=True)]),
    "one end": (LINE, [Dirichlet("x=2", u=3.0, hard=True)]),
    "walls and start": (STRIP, [Dirichlet(u=0.0, hard=True), Initial(u=sine, hard=True)]),
    "moving walls": (
        STRIP,
        [
            Dirichlet("x=0", u=lambda t: torch.sin(t), hard=True),
            Dirichlet("x=2", u=lambda t: t * t, hard=True),
            Initial(u=sine, hard=True),
        ],
    ),
    "second order in time": (
        STRIP,
        [Dirichlet(u=0.0, hard=True), Initial(u=sine, u_t=lambda x: 2 * sine(2 * x), hard=True)],
    ),
    "second order in time, soon free": (
        STRIP,
        [Dirichlet(u=0.0, hard=True), Initial(u=sine, u_t=lambda x: 2 * sine(2 * x), hard=True, ramp=0.2)],
    ),
    "start and end of time": (STRIP, [Initial(u=sine, u_t=0.5, hard=True), Dirichlet("t=3", u=1.0, hard=True)]),
    "four walls": (PLATE, [Dirichlet(u=quadric, hard=True)]),
    "one warm wall": (
        PLATE,
        [Dirichlet("y=2", u=sine, hard=True), Dirichlet(("x=0", "x=1", "y=0"), u=0.0, hard=True)],
    ),
    "a lid that moves beside walls that do not": (
        PLATE,
        [Dirichlet("y=2", u=1.0, hard=True), Dirichlet(("x=0", "x=1", "y=0"), u=0.0, hard=True)],
    ),
    "five dimensions": (
        Box.cube(5),
        [Dirichlet(u=lambda x1, x2, x3, x4, x5: x1 * x2 + torch.sin(x3) * x4 + x5, hard=True)],
    ),
    "flat end": (LINE, [Neumann("x=2", u=1.5, hard=True), Dirichlet("x=0", u=3.0, hard=True)]),
    "flat lower end": (LINE, [Neumann("x=0", u=-0.5, hard=True), Dirichlet("x=2", u=3.0, hard=True)]),
    "two flat ends": (LINE, [Neumann("x=2", u=1.5, hard=True), Neumann("x=0", u=-0.5, hard=True)]),
    "convective ends": (
        LINE,
        [Robin("x=2", u=1.5, alpha=2, beta=3, hard=True), Robin("x=0", u=-0.5, alpha=1, beta=-0.5, hard=True)],
    ),
    "convective and fixed": (LINE, [Robin("x=0", u=-0.5, alpha=2.0, hard=True), Dirichlet("x=2", u=1.5, hard=True)]),
    "insulated wave": (
        STRIP,
        [
            Neumann(u=0.0, hard=True),
            Initial(u=lambda x: torch.cos(torch.pi * x), u_t=lambda x: torch.cos(2 * torch.pi * x), hard=True),
        ],
    ),
    "slope on a plate": (
        PLATE,
        [
            Neumann("x=1", u=lambda y: y * y, hard=True),
            Dirichlet("y=0", u=0.0, hard=True),
            Dirichlet("y=2", u=lambda x: 4 * x, hard=True),
        ],
    ),
    "disk": (Disk((0, 0), 1), [Dirichlet(u=quadric, hard=True)]),
    "L-shape": (CORNER, [Dirichlet(u=0.0, hard=True)]),
    "two parts of an L-shape": (
        CORNER,
        [Dirichlet(["edge 1", "edge 2"], u=0.0, hard=True), Dirichlet("edge 4", u=lambda y: 1 + y, hard=True)],
    ),
    "hole": (HOLED * Time(0, 1), [Dirichlet(u=0.0, hard=True), Initial(u=0.0, hard=True)]),
    "hole and inlet": (
        HOLED,
        [Dirichlet("hole", u=0.0, hard=True), Dirichlet("y=0", u=lambda x: x * (1 - x), hard=True)],
    ),
    "periodic": (STRIP, [Periodic("x", order=3, hard=True), Initial(u=sine, hard=True)]),
    "points": (
        LINE,
        [Data({"x": [0.5, 1.1, 1.7]}, u=[1.0, 2.0, 0.5], hard=True), Dirichlet("x=0", u=3.0, hard=True)],
    ),
    "oscillator": (Time(1, 3), [Initial(u=1.0, u_t=-0.5, hard=True)]),
}


class Differentiated:
    """A field whose derivatives are nested autograd, as an oracle independent of jets."""

    def __init__(self, value, columns):
        self.value, self.columns = value, columns

    def d(self, *names):
        found = self.value
        for name in names:
            (found,) = torch.autograd.grad(found.sum(), self.columns[name], create_graph=True, materialize_grads=True)
        return found

    def __add__(self, other):
        return self.value + other

    def __sub__(self, other):
        return self.value - other

    def __rmul__(self, other):
        return other * self.value


def network_of(problem, seed):
    """A random smooth network of large output, periodic where it has to be."""
    generator = torch.Generator().manual_seed(seed)
    bounds = problem.network_bounds
    width = sum(2 if name in problem.periods else 1 for name in bounds)
    first = torch.randn(width, 24, generator=generator, dtype=torch.float64)
    last = torch.randn(24, generator=generator, dtype=torch.float64)

    def network(columns):
        inputs = []
        for name, value in problem.network_coordinates(columns).items():
            low, high = bounds[name]
            if name in problem.periods:
                angle = 2 * torch.pi * (value - low) / problem.periods[name]
                inputs += [torch.cos(angle), torch.sin(angle)]
            else:
                inputs.append((value - low) / (high - low))
        return 10 * torch.tanh(torch.stack(inputs, 1) @ first) @ last

    return network


def solution(problem, points, seed=0):
    columns = {name: column.clone().requires_grad_() for name, column in problem.domain.columns(points).items()}
    value = problem.ansatz({"u": network_of(problem, seed)(columns)}, columns)["u"]
    return Differentiated(value, columns)


@pytest.mark.parametrize(("domain", "conditions"), CASES.values(), ids=CASES)
class TestEveryHardCondition:
    @pytest.mark.parametrize("seed", [0, 1])
    def test_holds_for_any_network(self, domain, conditions, seed):
        problem = Posed(domain, conditions)
        for condition in conditions:
            given = condition.sample(domain, 100, torch.Generator().manual_seed(seed), "uniform")
            u = solution(problem, given.points, seed)
            for name, residual in condition.residuals({"u": u}, u.columns, given).items():
                # networks of size 100 and their derivatives, to rounding
                assert residual.abs().max() < 2e-10, (name, residual.abs().max())

    def test_holds_for_a_network_and_its_jets(self, domain, conditions):
        problem = Posed(domain, conditions)
        bounds = problem.network_bounds
        periods = {list(bounds).index(name): period for name, period in problem.periods.items()}
        network = MLP(len(bounds), 1, width=12, depth=2, bounds=list(bounds.values()), periods=periods, seed=0).double()
        for condition in conditions:
            given = condition.sample(domain, 50, torch.Generator().manual_seed(0))

            def residuals(fields, columns, condition=condition, given=given):
                return condition.residuals(fields, columns, given)

            layout = record(residuals, domain.coordinates, ("u",), domain.space, given.points)["u"]
            prepared = prepare(problem, network, given.points, layout)
            for name, residual in residuals(fields_at(network, prepared), prepared.columns).items():
                assert residual.abs().max() < 1e-11, name

    def test_leaves_the_network_free_inside(self, domain, conditions):
        problem = Posed(domain, conditions)
        points = domain.sample(500, torch.Generator().manual_seed(3))
        change = (solution(problem, points, 0).value - solution(problem, points, 1).value).abs()
        assert change.min() > 0 and change.median() > 0.1


def test_inputs_that_are_flat_at_the_faces_still_tell_every_flat_function():
    # cubes are flat but not even: a network of even images alone could not follow them
    s = torch.linspace(0, 1, 400, dtype=torch.float64)
    targets = {
        "flat end": 1 + (2 - 2 * s) ** 3 * torch.exp(s),
        "two flat ends": (s * s * (1 - s) ** 2 * torch.exp(2 * s)) + s**3 * (4 - 3 * s),
    }
    for case, target in targets.items():
        problem = Posed(LINE, [c for c in CASES[case][1] if isinstance(c, Neumann)])
        first, second = problem.network_coordinates({"x": 2 * s}).values()
        powers = [(i, j) for i in range(9) for j in range(9) if i + j <= 8]
        basis = torch.stack([first**i * second**j for i, j in powers], 1)
        fitted = basis @ torch.linalg.lstsq(basis, target[:, None], driver="gelsd").solution
        assert (fitted[:, 0] - target).abs().max() < 1e-6, case


def test_network_inputs_stay_in_their_stated_bounds():
    for name in ("flat end", "flat lower end", "two flat ends", "insulated wave", "walls and start"):
        problem = Posed(*CASES[name])
        points = problem.domain.sample(500, torch.Generator().manual_seed(0))
        inputs = problem.network_coordinates(problem.domain.columns(points))
        assert list(inputs) == list(problem.network_bounds)
        for key, (low, high) in problem.network_bounds.items():
            assert low <= inputs[key].min() and inputs[key].max() <= high
            assert inputs[key].max() - inputs[key].min() > 0.9 * (high - low)


def test_a_period_says_which_coordinate_the_network_embeds():
    problem = Posed(*CASES["periodic"])
    assert problem.periods == {"x": 2.0}


def test_hard_values_may_depend_on_unknown_parameters():
    conditions = [Dirichlet("x=0", u=lambda level: level, hard=True)]
    problem = Posed(LINE, conditions, parameters={"level": Unknown(2.0)})
    level = torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
    (u,) = problem.ansatz({"u": torch.ones(1)}, {"x": torch.zeros(1)}, {"level": level}).values()
    assert u.item() == 5.0
    assert torch.autograd.grad(u.sum(), level)[0].item() == 1.0


def test_a_lift_of_its_own_resolves_what_none_can_be_made_for():
    def moving(x, y, t):
        return torch.sin(x + t) * y

    domain = PLATE * Time(0, 1)
    conditions = [
        Dirichlet(u=moving, hard=True),
        Initial(u=lambda x, y: torch.sin(x) * y, u_t=lambda x, y: torch.cos(x) * y, hard=True),
    ]
    with pytest.raises(ConfigurationError, match=r"initial: the lift misses this hard condition by .* in u_t at x="):
        Posed(domain, conditions)
    problem = Posed(domain, conditions, lift=lambda x, y, t: {"u": moving(x, y, t)})
    given = conditions[1].sample(domain, 50, torch.Generator().manual_seed(0))
    u = solution(problem, given.points)
    assert all(r.abs().max() < 1e-11 for r in conditions[1].residuals({"u": u}, u.columns, given).values())


REFUSED = {
    "a wall that a start contradicts": (
        STRIP,
        [Dirichlet("x=0", u=1.0, hard=True), Initial(u=0.0, hard=True)],
        r"dirichlet:x=0: the lift misses this hard condition by -1 in u at x=0, t=[\d.]+\. Either it contradicts",
    ),
    "a start that is not periodic": (
        STRIP,
        [Periodic("x", hard=True), Initial(u=lambda x: x * x, hard=True)],
        r"periodic:x: the lift misses this hard condition by -4 in u at x=0",
    ),
    "a lift that is wrong": (
        LINE,
        [Dirichlet("x=0", u=1.0, hard=True)],
        r"dirichlet:x=0: the lift misses this hard condition by 0\.5 in u at x=0\.",
    ),
    "the same wall twice": (
        LINE,
        [Dirichlet("x=0", u=1.0, hard=True), Dirichlet(u=1.0, hard=True)],
        "dirichlet: dirichlet:x=0 is a hard condition on u at x=0 already",
    ),
    "a slope on a circle": (
        Disk((0, 0), 1),
        [Neumann(u=0.0, hard=True)],
        "hard Neumann condition needs a face of an interval or box; 'circle'",
    ),
    "a part of a union": (
        Box(x=(0, 1), y=(0, 1)) | Box(x=(1, 2), y=(0, 0.5)),
        [Dirichlet("x=0", u=0.0, hard=True)],
        "make the condition soft, or describe the shape as one Polygon",
    ),
    "data in the plane": (PLATE, [Data([[0.5, 0.5]], u=1.0, hard=True)], "hard data need a domain with one coordinate"),
    "data beside an unknown value": (
        LINE,
        [Data({"x": 1.0}, u=1.0, hard=True), Dirichlet("x=0", u=lambda level: level, hard=True)],
        "depends on an unknown parameter; it and hard data cannot both be built in",
    ),
    "data at an end": (
        LINE,
        [Data({"x": 0.0}, u=1.0, hard=True)],
        "is a Dirichlet or Initial condition; move it there",
    ),
    "a variable Robin coefficient": (
        LINE,
        [Robin("x=0", u=0.0, alpha=lambda x: x, hard=True)],
        "numbers for alpha and beta",
    ),
}


@pytest.mark.parametrize(("domain", "conditions", "message"), REFUSED.values(), ids=REFUSED)
def test_hard_conditions_that_cannot_hold_are_refused_at_construction(domain, conditions, message):
    lift = (lambda x: {"u": 1.5 + x}) if "0\\.5" in message else None
    with pytest.raises(ConfigurationError, match=message):
        Posed(domain, conditions, lift=lift, parameters={"level": Unknown(1.0)})


def test_a_flat_coordinate_is_shared_by_all_fields():
    with pytest.raises(ConfigurationError, match="shared by all fields: give v a value too"):
        Posed(LINE, [Neumann("x=0", u=0.0, hard=True)], fields=("u", "v"))


def test_the_second_order_start_leaves_the_acceleration_free():
    # u = u0 + v0 t + τ² N: the second derivative at the start is 2 N/T² and not fixed
    problem = Posed(*CASES["oscillator"])
    start = torch.ones(1, dtype=torch.float64).requires_grad_()
    u = problem.ansatz({"u": torch.full((1,), 7.0, dtype=torch.float64)}, {"t": start})["u"]
    (velocity,) = torch.autograd.grad(u.sum(), start, create_graph=True)
    (acceleration,) = torch.autograd.grad(velocity.sum(), start)
    assert (u.item(), velocity.item()) == (1.0, -0.5) and math.isclose(acceleration.item(), 2 * 7 / 4)
