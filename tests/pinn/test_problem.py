"""What a problem promises: it is checked when it is made, all mistakes are named at once, and names replace numbers."""

import math

import pytest
import torch

from pinn.conditions import Data, Dirichlet, Initial, Periodic
from pinn.geometry import Box, Disk, Interval, Time
from pinn.problem import Problem, Unknown
from training.errors import ConfigurationError


class Heat(Problem):
    title = "Heat equation"
    formula = r"u_t = \kappa\, u_{xx}"

    def __init__(self, conductivity: float = 0.3, *, end: float = 0.5, hard: bool = True) -> None:
        self.conductivity = conductivity
        self.domain = Interval(x=(0, 1)) * Time(0, end)
        self.conditions = [
            Dirichlet(u=0.0, hard=hard),
            Initial(u=lambda x: torch.sin(torch.pi * x), hard=hard),
        ]

    def equations(self, u):
        return {"heat": u.t - self.conductivity * u.xx}


class Flow(Problem):
    fields = ("u", "v", "p")

    def __init__(self, broken=(), conditions=(), equations=None, parameters=None, fields=None):
        self.domain = Box(x=(0, 1), y=(0, 1))
        self.conditions = [Dirichlet(u=0.0, v=0.0), Data({"x": 0.0, "y": 0.0}, p=0.0), *conditions]
        self.parameters = parameters or {"viscosity": Unknown(0.1, positive=True)}
        if fields is not None:
            self.fields = fields
        if equations is not None:
            self.equations = equations

    def equations(self, u, v, p, viscosity, x):
        return {
            "momentum": u * u.x + v * u.y + p.x - viscosity * u.laplacian + x,
            "continuity": u.x + v.y,
        }


class TestHeat:
    def test_knows_its_names(self):
        heat = Heat()
        assert heat.coordinates == ("x", "t") and heat.space == ("x",) and heat.time == "t" and heat.fields == ("u",)
        assert heat.periods == {} and list(heat.network_bounds) == ["x", "t"]
        assert [c.name for c in heat.hard_conditions] == ["dirichlet", "initial"] and heat.soft_conditions == ()
        assert [c.name for c in Heat(hard=False).soft_conditions] == ["dirichlet", "initial"]

    def test_remembers_what_it_was_made_from(self):
        heat = Heat(0.7, end=2.0)
        assert heat.arguments == {"conductivity": 0.7, "end": 2.0, "hard": True}
        assert heat.target.endswith("test_problem.Heat")
        assert repr(heat) == "Heat(conductivity=0.7, end=2.0, hard=True)"
        assert type(heat)(**heat.arguments).domain.bounds == heat.domain.bounds

    def test_evaluation_points_are_a_fixed_grid_with_its_ends(self):
        heat = Heat()
        points = heat.evaluation_points()
        assert points.shape == (201 * 201, 2) and torch.equal(points, heat.evaluation_points())
        assert points.min(0).values.tolist() == [0, 0] and points.max(0).values.tolist() == [1, 0.5]

    def test_ansatz_is_lift_plus_factor_times_network(self):
        heat = Heat()
        columns = heat.domain.columns(heat.domain.sample(20, torch.Generator().manual_seed(0)))
        network = torch.arange(20.0, dtype=torch.float64)
        ((lift, factor),) = heat.ansatz_terms(columns).values()
        x, t = columns["x"], columns["t"]
        torch.testing.assert_close(lift, torch.sin(torch.pi * x), rtol=0, atol=1e-15)
        torch.testing.assert_close(factor, 4 * x * (1 - x) * t / 0.5, rtol=1e-14, atol=0)
        torch.testing.assert_close(heat.ansatz({"u": network}, columns)["u"], lift + factor * network, rtol=0, atol=0)

    def test_conditions_that_changed_afterwards_are_seen_by_the_next_check(self):
        heat = Heat()
        heat.conditions[0] = Dirichlet(u=1.0, hard=True)
        with pytest.raises(ConfigurationError, match="dirichlet: the lift misses this hard condition"):
            heat.check()


def test_evaluation_points_stay_in_a_curved_domain_and_scatter_in_many_dimensions():
    class Posed(Problem):
        def __init__(self, domain):
            self.domain = domain

        def equations(self, u):
            return {"any": u.laplacian}

    disk = Posed(Disk((0, 0), 1)).evaluation_points()
    assert (disk.norm(dim=1) <= 1 + 1e-12).all() and len(disk) / 201**2 == pytest.approx(math.pi / 4, abs=0.01)
    many = Posed(Box.cube(6))
    assert many.evaluation_points().shape == (20_000, 6)
    assert torch.equal(many.evaluation_points(), many.evaluation_points())


def test_several_fields_and_unknown_parameters_are_matched_by_name():
    flow = Flow()
    assert [c.name for c in flow.soft_conditions] == ["dirichlet", "data"]
    columns = flow.domain.columns(flow.domain.sample(5, torch.Generator().manual_seed(0)))
    assert flow.ansatz({name: torch.ones(5) for name in flow.fields}, columns).keys() == {"u", "v", "p"}


MISTAKES = {
    "an unknown field in a condition": (
        {"conditions": [Dirichlet("x=1", w=0.0)]},
        ["dirichlet:x=1: there is no field 'w'; Known here: u, v, p."],
    ),
    "several at once": (
        {"conditions": [Dirichlet("x=3", name="far", u=0.0), Initial(u=0.0), Periodic("z")]},
        [
            "far: Box(x=(0, 1), y=(0, 1)) has no boundary part 'x=3'",
            "initial: Box(x=(0, 1), y=(0, 1)) has no time",
            "periodic:z: there is no space coordinate 'z'; Known here: x, y",
        ],
    ),
    "an argument nobody has": (
        {"equations": lambda u, viscosty, q: {"a": u.x}},
        ["there is no 'viscosty'; did you mean viscosity?", "there is no 'q'"],
    ),
    "a derivative nobody has": ({"equations": lambda u: {"a": u.t}}, ["u.t is no derivative of u; append coordinates"]),
    "no dictionary": ({"equations": lambda u: u.x}, ["Equations return a dictionary of residuals by name"]),
    "a single number": ({"equations": lambda u: {"a": u.x.sum()}}, ["The residual 'a' has shape ()"]),
    "too few numbers": ({"equations": lambda u: {"a": u.x[:3]}}, ["the residual 'a' has 3 values for 16 points"]),
    "not a number": (
        {"equations": lambda u, x: {"a": u.x * torch.sqrt(x - 2)}},
        ["the residual 'a' is nan for a smooth trial field, at x="],
    ),
    "shapes that do not fit": (
        {"equations": lambda u: {"a": u.x + torch.ones(7)}},
        ["equations: RuntimeError: The size of tensor", "test_problem.py, line"],
    ),
    "an infinite wall": (
        {"conditions": [Dirichlet("x=0", name="wall", u=lambda x: 1 / x)]},
        ["wall: the residual 'wall.u' is -inf for a smooth trial field, at x=0"],
    ),
    "two conditions of one name": (
        {"conditions": [Dirichlet("x=0", name="data", u=0.0)]},
        ["2 conditions are called 'data'; give them different name=…"],
    ),
    "a name used twice": ({"parameters": {"x": Unknown(1.0)}}, ["'x' names two things"]),
    "a parameter that is a number": (
        {"parameters": {"viscosity": 0.1}},
        ["the parameter viscosity is an Unknown(initial"],
    ),
    "fields as one word": ({"fields": "u"}, ['fields is a tuple of names such as ("u",)']),
    "something that is no condition": ({"conditions": [3]}, ["conditions contain 3"]),
}


@pytest.mark.parametrize(("changes", "messages"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_named_when_the_problem_is_made(changes, messages):
    with pytest.raises(ConfigurationError) as caught:
        Flow(**changes)
    assert str(caught.value).startswith("The problem Flow has ")
    for message in messages:
        assert message in str(caught.value)


def test_a_problem_without_domain_or_equations_says_what_to_write():
    class Nothing(Problem):
        pass

    class NoEquations(Problem):
        domain = Interval(x=(0, 1))

    with pytest.raises(ConfigurationError, match=r"domain is missing: set self\.domain"):
        Nothing()
    with pytest.raises(ConfigurationError, match="equations is missing: write a method"):
        NoEquations()


class TestUnknown:
    KINDS = (
        Unknown(0.5),
        Unknown(-3.0, scale=0.1),
        Unknown(0.01, positive=True),
        Unknown(0.2, bounds=(0.0, 1.0)),
        Unknown(4.0, bounds=(-1.0, 5.0)),
    )

    @pytest.mark.parametrize("unknown", KINDS, ids=repr)
    def test_starts_at_its_initial_value_and_moves_from_there(self, unknown):
        raw = torch.zeros((), dtype=torch.float64, requires_grad=True)
        value = unknown.value(raw)
        assert value.item() == pytest.approx(unknown.initial, rel=1e-12)
        (slope,) = torch.autograd.grad(value, raw)
        assert slope.item() > 0

    @pytest.mark.parametrize("unknown", KINDS, ids=repr)
    def test_stays_where_it_may_and_its_inverse_undoes_it(self, unknown):
        for theta in (-3.0, -0.4, 0.0, 1.7, 4.0):
            value = unknown.value(torch.tensor(theta, dtype=torch.float64)).item()
            assert not unknown.positive or value > 0
            assert unknown.bounds is None or unknown.bounds[0] < value < unknown.bounds[1]
            assert unknown.raw(value) == pytest.approx(theta, abs=1e-9)

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: Unknown(2.0, bounds=(0.0, 1.0)), r"2 is outside \(0, 1\)"),
            (lambda: Unknown(-1.0, positive=True), "positive unknown starts from a positive number"),
            (lambda: Unknown(float("nan")), "finite number"),
            (lambda: Unknown(0.5, bounds=(1.0, 0.0)), "lower first"),
            (lambda: Unknown(0.5, scale=0.0), "scale of an unknown is positive"),
        ],
    )
    def test_impossible_ones_are_named(self, make, message):
        with pytest.raises(ConfigurationError, match=message):
            make()

    def test_a_start_at_a_bound_can_still_move(self):
        raw = torch.zeros((), dtype=torch.float64, requires_grad=True)
        value = Unknown(0.0, bounds=(0.0, 1.0)).value(raw)
        (slope,) = torch.autograd.grad(value, raw)
        assert 0 < value.item() < 1e-5 and slope.item() > 0
