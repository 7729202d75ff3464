"""Computed references satisfy the equations and conditions of their problems, by differences of their own values."""

import pytest
import torch
from known_fields import patch_fields

from pinn.problems.allen_cahn import AllenCahn, AllenCahnReference
from pinn.problems.allen_cahn_fixed_ends import AllenCahnFixedEnds, AllenCahnFixedEndsReference
from pinn.problems.burgers import Burgers
from pinn.problems.inverse_burgers import VISCOSITY, InverseBurgers
from pinn.problems.korteweg_de_vries import KortewegDeVries, KortewegDeVriesReference
from pinn.problems.kuramoto_sivashinsky import KuramotoSivashinsky, KuramotoSivashinskyReference
from pinn.problems.lid_driven_cavity import LidDrivenCavity
from pinn.problems.poisson_l_shape import PoissonLShape
from pinn.references.cavity import Cavity
from training.errors import ConfigurationError


def with_reference(problem, reference=None):
    """A problem whose reference is computed at a lower resolution than its own."""
    problem.reference = reference or problem.reference
    return problem


# problem, half widths of the patches, largest residual allowed: what differences over a patch leave of the floor
CASES = {
    "burgers": (lambda: Burgers(viscosity=0.02), {"x": 0.02, "t": 0.02}, 1e-10),
    "allen_cahn": (
        lambda: with_reference(AllenCahn(1e-3), AllenCahnReference(1e-3, 160)),
        {"x": 0.03, "t": 0.02},
        1e-6,
    ),
    "allen_cahn_fixed_ends": (
        lambda: with_reference(AllenCahnFixedEnds(4e-3), AllenCahnFixedEndsReference(4e-3, 320)),
        {"x": 0.025, "t": 0.02},
        1e-5,
    ),
    "korteweg_de_vries": (
        lambda: with_reference(KortewegDeVries(1.0, 0.05), KortewegDeVriesReference(1.0, 0.05, 96, 0.5)),
        {"x": 0.05, "t": 0.015},
        1e-5,
    ),
    "kuramoto_sivashinsky": (
        lambda: with_reference(KuramotoSivashinsky(), KuramotoSivashinskyReference(5.0, 0.5, 0.005, 48, 0.4)),
        {"x": 0.2, "t": 0.02},
        1e-3,
    ),
    "poisson_l_shape": (PoissonLShape, {"x": 0.05, "y": 0.05}, 1e-8),
    "lid_driven_cavity": (
        lambda: with_reference(LidDrivenCavity(), Cavity(100.0, 40)),
        {"x": 0.08, "y": 0.08},
        1e-3,
    ),
}
# the last places are where fronts, shocks and vortices are
PLACES = torch.tensor([[0.3, 0.4], [0.62, 0.55], [0.45, 0.8]], dtype=torch.float64)


@pytest.mark.parametrize("name", list(CASES))
def test_satisfies_its_equations_at_inner_points(name):
    make, widths, bound = CASES[name]
    problem = make()
    bounds = list(problem.domain.bounds.values())
    # on the upper half of x, which the L-shape has too
    for place in PLACES:
        scaled = [low + (high - low) * (1 + p) / 2 for (low, high), p in zip(bounds, place, strict=True)]
        middle = torch.stack(scaled)
        middle[-1] = bounds[-1][0] + (bounds[-1][1] - bounds[-1][0]) * place[-1] if problem.time else middle[-1]
        fields = patch_fields(problem.reference, middle, widths)
        columns = {c: value.reshape(1) for c, value in zip(problem.coordinates, middle, strict=True)}
        for term, residual in problem.residuals(fields, columns).items():
            assert residual.abs().max() < bound, (term, place.tolist())


@pytest.mark.parametrize("name", ["burgers", "allen_cahn_fixed_ends", "korteweg_de_vries", "kuramoto_sivashinsky"])
def test_starts_as_prescribed(name):
    problem = CASES[name][0]()
    (initial,) = (c for c in problem.conditions if c.name == "initial")
    given = initial.sample(problem.domain, 100, torch.Generator().manual_seed(0))
    reference = problem.reference.values(given.points)["u"]
    x = problem.domain.columns(given.points)["x"]
    torch.testing.assert_close(reference, initial.values["u"](x), rtol=0, atol=1e-10)


def test_the_smoothed_start_of_allen_cahn_meets_both_conditions_and_follows_the_solution():
    diffusion = 1e-3
    problem = with_reference(AllenCahn(diffusion), AllenCahnReference(diffusion, 256))
    x = torch.linspace(-1, 1, 41, dtype=torch.float64)
    start = problem.smoothed_start(x, 0 * x)["u"]
    # the width of the smoothing at t = 0 is 1e-10
    torch.testing.assert_close(start, x**2 * torch.cos(torch.pi * x), rtol=0, atol=2e-10)
    for t in (1e-4, 1e-2, 0.5):
        ends = torch.tensor([-1.0, 1.0], dtype=torch.float64, requires_grad=True)
        value = problem.smoothed_start(ends, 0 * ends.detach() + t)["u"]
        (slope,) = torch.autograd.grad(value.sum(), ends)
        assert (value[0] - value[1]).abs() < 1e-14 and slope.abs().max() < 1e-12
    # close to the kink it is the solution, up to the square of the width √(4Dt) = 0.002 and of 10 t
    places = torch.tensor([[1.0, 1e-3], [0.999, 1e-3], [-0.998, 1e-3]], dtype=torch.float64)
    lift = problem.smoothed_start(places[:, 0], places[:, 1])["u"]
    torch.testing.assert_close(lift, problem.reference.values(places)["u"], rtol=0, atol=1e-4)


def test_the_truth_of_inverse_burgers_solves_its_equation_and_the_start_does_not():
    problem = InverseBurgers(measurements=10)
    middle, widths = torch.tensor([0.3, 0.3], dtype=torch.float64), {"x": 0.02, "t": 0.02}
    fields = patch_fields(problem.reference, middle, widths)
    columns = {"x": middle[:1], "t": middle[1:]}
    truth = {name: torch.tensor(value, dtype=torch.float64) for name, value in problem.truth.items()}
    assert problem.truth == {"lambda1": 1.0, "lambda2": VISCOSITY}
    assert problem.residuals(fields, columns, truth)["momentum"].abs().max() < 1e-7
    begin = {name: torch.tensor(unknown.initial, dtype=torch.float64) for name, unknown in problem.parameters.items()}
    assert problem.residuals(fields, columns, begin)["momentum"].abs().max() > 1e-2


def test_known_ends_of_inverse_burgers_are_hard():
    assert len(InverseBurgers(measurements=10, known_ends=True).hard_conditions) == 2
    assert not InverseBurgers(measurements=10).hard_conditions


def test_the_cavity_has_tables_where_they_exist_and_a_range():
    assert set(LidDrivenCavity(100.0).tables()) == {"u", "v"}
    assert LidDrivenCavity(250.0).tables() == {}
    for reynolds in (0.0, -1.0, 1000.0):
        with pytest.raises(ConfigurationError, match="reynolds lies above 0"):
            LidDrivenCavity(reynolds)
