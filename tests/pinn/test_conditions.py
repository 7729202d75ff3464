"""What soft conditions promise: points where they hold, residuals by name that vanish for the solution alone."""

import re

import numpy as np
import pytest
import torch

from pinn.conditions import Data, Dirichlet, Initial, Neumann, Periodic, Robin
from pinn.fields import JetField, record
from pinn.geometry import Box, Disk, Interval, Time
from pinn.jets.jet import Jet
from training.errors import ConfigurationError, InputError

STRIP = Interval(x=(-1, 2)) * Time(0, 3)
PLATE = Box(x=(0, 2), y=(0, 1)) - Disk((1, 0.5), 0.2, name="hole")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def residuals(condition, domain, function, parameters=None, n=40):
    """The residuals of a condition for ``u = function(**coordinates)``, exactly differentiated."""
    given = condition.sample(domain, n, seeded())

    def of(fields, columns):
        return condition.residuals(fields, columns, given, parameters)

    layout = record(of, domain.coordinates, ("u",), domain.space, given.points)["u"]
    u = JetField("u", function(**Jet.coordinates(layout, given.points)), domain.space)
    return of({"u": u}, domain.columns(given.points)), given


def wave(x, t):
    return torch.sin(2 * x) * torch.exp(-t)


SATISFIED = [
    (Dirichlet("x=2", u=lambda t: np.sin(4) * torch.exp(-t)), STRIP, wave, ["dirichlet:x=2.u"]),
    (Dirichlet(u=lambda x, t: wave(x, t)), STRIP, wave, ["dirichlet.u"]),
    (Neumann("x=min", u=lambda t: -2 * np.cos(2) * torch.exp(-t)), STRIP, wave, ["neumann:x=min.u"]),
    (
        Robin("x=2", u=lambda t: (3 * np.sin(4) - np.cos(4)) * torch.exp(-t), alpha=3.0, beta=-0.5),
        STRIP,
        wave,
        ["robin:x=2.u"],
    ),
    (
        Initial(u=lambda x: torch.sin(2 * x), u_t=lambda x: -torch.sin(2 * x), u_tt=lambda x: torch.sin(2 * x)),
        STRIP,
        wave,
        ["initial.u", "initial.u_t", "initial.u_tt"],
    ),
    (
        Periodic("x", order=2),
        STRIP,
        lambda x, t: torch.sin(2 * torch.pi * x / 3) * t,
        ["periodic:x.u", "periodic:x.u_x", "periodic:x.u_xx"],
    ),
    (Data({"t": [0.5, 1.0], "x": 0.3}, u=np.sin(0.6) * np.exp([-0.5, -1.0])), STRIP, wave, ["data.u"]),
    # on the circle the slope along the normal of x² + y² is that of a radius that shrinks
    (
        Neumann("hole", u=lambda x, y: -2 * ((x - 1) * x + (y - 0.5) * y) / 0.2),
        PLATE,
        lambda x, y: x**2 + y**2,
        ["neumann:hole.u"],
    ),
]


@pytest.mark.parametrize(
    ("condition", "domain", "solution", "names"), SATISFIED, ids=[repr(case[0])[:40] for case in SATISFIED]
)
class TestEverySoftCondition:
    def test_is_satisfied_by_its_solution_to_rounding(self, condition, domain, solution, names):
        found, _ = residuals(condition, domain, solution)
        assert list(found) == names
        for residual in found.values():
            assert residual.ndim == 1 and residual.abs().max() < 2e-14

    def test_is_missed_by_another_function_everywhere(self, condition, domain, solution, names):
        def other(**coordinates):
            first = coordinates[domain.coordinates[0]]
            return solution(**coordinates) + 0.1 * torch.exp(first + coordinates[domain.coordinates[1]])

        found, _ = residuals(condition, domain, other)
        assert all(residual.abs().max() > 0.01 for residual in found.values())

    def test_chunks_of_its_points_give_the_same_residuals(self, condition, domain, solution, names):
        _, given = residuals(condition, domain, solution)
        if len(given) < 2:
            return
        middle = len(given) // 2 // given.group * given.group
        parts = [given.rows(0, middle), given.rows(middle, len(given))]
        assert sum(map(len, parts)) == len(given)
        for field in given.values:
            assert torch.equal(torch.cat([part.values[field] for part in parts]), given.values[field])
        assert torch.equal(torch.cat([part.points for part in parts]), given.points)

    def test_finds_nothing_to_complain_about(self, condition, domain, solution, names):
        assert condition.complaints(domain, ("u",), ()) == []


class TestPoints:
    def test_lie_where_the_condition_holds(self):
        assert (Dirichlet("x=2", u=0.0).sample(STRIP, 30, seeded()).points[:, 0] == 2).all()
        assert (Initial(u=0.0).sample(STRIP, 30, seeded()).points[:, 1] == 0).all()

    def test_of_a_period_come_in_pairs(self):
        given = Periodic("x").sample(STRIP, 30, seeded())
        assert len(given) == 60 and given.group == 2
        assert (given.points[0::2, 0] == -1).all() and (given.points[1::2, 0] == 2).all()
        assert torch.equal(given.points[0::2, 1], given.points[1::2, 1])

    def test_on_a_single_point_are_not_repeated(self):
        line = Interval(x=(0, 1))
        assert Dirichlet(u=0.0).sample(line, 100, seeded()).points.tolist() == [[0.0], [1.0]]
        assert len(Initial(u=0.0).sample(Time(0, 1), 100, seeded())) == 1
        assert len(Periodic("x").sample(line, 100, seeded())) == 2

    def test_are_as_many_as_the_condition_says(self):
        assert len(Dirichlet(u=0.0, n_points=7).sample(STRIP, 100, seeded())) == 7

    def test_of_data_are_all_of_them_or_a_draw_without_replacement(self):
        x = np.linspace(0, 1, 20)
        everything = Data({"x": x}, u=2 * x).sample(Interval(x=(0, 1)), 5, seeded())
        some = Data({"x": x}, u=2 * x, n_points=8).sample(Interval(x=(0, 1)), 5, seeded())
        assert len(everything) == 20 and len(some) == 8 == len(some.points.unique())
        torch.testing.assert_close(some.values["u"], 2 * some.points[:, 0], rtol=0, atol=0)

    def test_move_to_another_precision_together(self):
        moved = Neumann(u=0.0).sample(STRIP, 5, seeded()).to(torch.float32)
        assert moved.points.dtype == moved.normals.dtype == torch.float32


def test_values_may_depend_on_unknown_parameters():
    condition = Dirichlet("x=2", u=lambda t, level: level * t)
    level = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    found, given = residuals(condition, STRIP, lambda x, t: 3 * t + 0 * x, {"level": level})
    assert condition.complaints(STRIP, ("u",), ("level",)) == []
    (residual,) = found.values()
    assert residual.detach().abs().max() < 1e-15
    (slope,) = torch.autograd.grad(residual.sum(), level)
    assert slope.item() == pytest.approx(-given.points[:, 1].sum().item(), rel=1e-14)


COMPLAINTS = [
    (Dirichlet("x=5", u=0.0), "no boundary part 'x=5'; did you mean x=2"),
    (Dirichlet("x=2", U=0.0), "no field 'U'; did you mean u"),
    (Dirichlet("x=2"), "no field is given a value"),
    (Dirichlet("x=2", u=lambda y: y), "asks for 'y'; Known here: x, t"),
    (Dirichlet("x=2", u=lambda *values: 0), "matched by name: write them out"),
    (Dirichlet("x=2", u=[1, 2]), "u is a number or a function of x, t"),
    (Dirichlet("x=2", u=float("nan")), "u is nan; it must be finite"),
    (Neumann("t=0", u=0.0), r"no normal in space; use Initial\(u_t=…\)"),
    (Robin("x=2", u=0.0, alpha=lambda q: q), "alpha asks for 'q'"),
    (Initial(u_x=0.0), "no field 'u_x'; did you mean u"),
    (Initial(u_t=0.0, hard=True), "needs u itself as well"),
    (Initial(u=0.0, time="tau"), r"time is called t; write Initial\(time='t'"),
    (Initial(u=0.0, ramp=0.1), "ramp=0.1: a positive time, and for a hard condition only"),
    (Periodic("y"), "no space coordinate 'y'; Known here: x"),
    (Periodic("x", fields=["v"]), "no field 'v'"),
    (Data({"x": [0.0], "z": [0.0]}, u=0.0), "t is missing"),
    (Data([[0.0, 0.0, 0.0]], u=0.0), "3 columns, the coordinates are x, t"),
    (Data([[0.0, 0.0], [0.0, 9.0]], u=0.0), "1 of 2 points are outside the domain, the first at x=0, t=9"),
]


@pytest.mark.parametrize(("condition", "message"), COMPLAINTS, ids=[repr(case[0])[:40] for case in COMPLAINTS])
def test_mistakes_are_named(condition, message):
    (complaint,) = condition.complaints(STRIP, ("u",), ())
    assert re.search(message, complaint), complaint


def test_a_condition_at_the_start_needs_a_time_and_a_period_two_faces():
    assert "has no time; multiply it by Time" in Initial(u=0.0).complaints(Interval(x=(0, 1)), ("u",), ())[0]
    assert "no two faces x=low and x=high" in Periodic("x").complaints(Disk((0, 0), 1), ("u",), ())[0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Data({"x": [0.0, 1.0], "t": [0.0, 1.0, 2.0]}, u=0.0), "x has 2 values for 3 points"),
        (lambda: Data({"x": [0.0, 1.0]}, u=[1.0, float("nan")]), "row 1 of u is nan"),
        (lambda: Data({"x": [0.0, float("inf")]}, u=0.0), "row 1 of x is inf"),
        (lambda: Data({"x": [0.0, 1.0]}, u=[1.0, 2.0, 3.0]), "u has 3 values for 2 points"),
        (lambda: Data({"x": ["a"]}, u=1.0), "x is a column of numbers"),
        (lambda: Data(np.zeros((0, 2)), u=1.0), "at least one row"),
    ],
)
def test_unusable_data_are_refused_with_row_and_column(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_impossible_settings_are_refused():
    with pytest.raises(ConfigurationError, match="n_points is at least 1"):
        Dirichlet(u=0.0, n_points=0)
    with pytest.raises(ConfigurationError, match="order of the highest derivative"):
        Periodic("x", order=-1)
