"""Integrated references: their floor is honest, they conserve what they must, and any points may be asked."""

import numpy as np
import pytest
import torch

from pinn.problems.allen_cahn import AllenCahnReference, start
from pinn.problems.allen_cahn_fixed_ends import AllenCahnFixedEndsReference
from pinn.problems.korteweg_de_vries import KortewegDeVriesReference
from pinn.problems.kuramoto_sivashinsky import KuramotoSivashinskyReference
from pinn.problems.schrodinger import PeriodicSchrodingerReference, imaginary, real
from pinn.references.etdrk4 import Segment
from pinn.references.reference import relative_l2
from training.errors import InputError

# coarse and a resolution that is better in space and in time, both far below the defaults' cost
PAIRS = {
    "Allen–Cahn": (lambda: AllenCahnReference(4e-4, 160), lambda: AllenCahnReference(4e-4, 256, 2)),
    "Allen–Cahn, fixed ends": (
        lambda: AllenCahnFixedEndsReference(4e-3, 192),
        lambda: AllenCahnFixedEndsReference(4e-3, 256, 2),
    ),
    "Korteweg–de Vries": (
        lambda: KortewegDeVriesReference(1.0, 0.044, 64, 0.25),
        lambda: KortewegDeVriesReference(1.0, 0.044, 96, 0.5),
    ),
    "Kuramoto–Sivashinsky": (
        lambda: KuramotoSivashinskyReference(5.0, 0.5, 0.01, 48, 0.2),
        lambda: KuramotoSivashinskyReference(5.0, 0.5, 0.01, 64, 0.4),
    ),
    "Schrödinger": (lambda: PeriodicSchrodingerReference(64, 0.5), lambda: PeriodicSchrodingerReference(128, 0.5)),
}


@pytest.fixture(scope="module", params=list(PAIRS))
def pair(request):
    """A coarse reference and a finer one."""
    coarse, fine = PAIRS[request.param]
    return coarse(), fine()


def scattered(reference, n=400):
    generator = torch.Generator().manual_seed(0)
    low, high = reference.basis(8).low, reference.basis(8).high
    x = low + (high - low) * torch.rand(n, generator=generator, dtype=torch.float64)
    t = reference.segments[-1].until * torch.rand(n, generator=generator, dtype=torch.float64)
    return torch.stack([x, t], 1)


def test_the_floor_bounds_the_difference_to_a_finer_reference_at_any_points(pair):
    coarse, fine = pair
    points = scattered(coarse)
    found, better = coarse.values(points), fine.values(points)
    error = relative_l2(*(torch.stack(list(values.values())) for values in (found, better)))
    # 400 random points estimate an integral over space and time to some ten per cent
    assert error < 1.3 * coarse.floor
    assert fine.floor < coarse.floor < 1e-3
    assert f"{coarse.modes} modes" in coarse.floor_note


def test_a_grid_gives_what_its_points_give_one_by_one(pair):
    reference = pair[0]
    end = reference.segments[-1].until
    x, t = scattered(reference, 9)[:, 0], torch.linspace(0, end, 7, dtype=torch.float64)
    grid = torch.cartesian_prod(x, t)
    together = reference.values(grid)
    for name, values in together.items():
        one_by_one = torch.cat([reference.values(point[None])[name] for point in grid])
        torch.testing.assert_close(values, one_by_one, rtol=0, atol=1e-12)
    # enough points in no order that the other path is taken
    points = scattered(reference, 50)
    many = reference.values(torch.cat([points, points]))
    for name, values in many.items():
        torch.testing.assert_close(values[:50], reference.values(points)[name], rtol=0, atol=1e-12)


def test_times_beyond_the_end_are_refused(pair):
    reference = pair[0]
    with pytest.raises(InputError, match="known for t from 0"):
        reference.values(torch.tensor([[0.0, 1.01 * reference.segments[-1].until]], dtype=torch.float64))


def test_a_kept_reference_is_read_back_exactly():
    first = KuramotoSivashinskyReference(5.0, 0.5, 0.01, 32, 0.2)
    second = KuramotoSivashinskyReference(5.0, 0.5, 0.01, 32, 0.2)
    points = scattered(first)
    assert torch.equal(first.values(points)["u"], second.values(points)["u"]) and first.floor == second.floor


def test_korteweg_de_vries_conserves_mass_momentum_and_energy():
    eta, mu = 1.0, 0.044
    reference = KortewegDeVriesReference(eta, mu, 96, 0.5)
    basis, c = reference.basis(96), reference._coefficients
    u, slope = (np.array([basis.values(row) for row in rows]) for rows in (c, 1j * basis.kappa * c))
    np.testing.assert_allclose(u.mean(1), 0.0, rtol=0, atol=1e-14)
    np.testing.assert_allclose((u**2).mean(1), 0.5, rtol=1e-8)
    energy = (eta * u**3 / 6 - mu**2 * slope**2 / 2).mean(1)
    np.testing.assert_allclose(energy, energy[0], rtol=1e-6)


def test_the_periodic_breather_keeps_its_norm_and_a_wide_box_holds_the_one_on_the_line():
    class Wide(PeriodicSchrodingerReference):
        def basis(self, modes):
            basis = super().basis(modes)
            return type(basis)(-15.0, 15.0, modes, real=False, degree=3)

    reference = Wide(256, 0.5)
    norm = (np.abs(reference._coefficients) ** 2).sum(1)
    np.testing.assert_allclose(norm, norm[0], rtol=1e-7)
    points = scattered(PeriodicSchrodingerReference(8))
    found = reference.values(points)
    x, t = points.unbind(1)
    for name, exact in (("u", real), ("v", imaginary)):
        # 2 sech 15 = 1.2e-6 is what each neighbouring box adds
        torch.testing.assert_close(found[name], exact(x, t), rtol=0, atol=2.4e-6)


def test_allen_cahn_starts_from_the_exact_coefficients_of_the_kink():
    x = np.linspace(-1, 1, 2**18, endpoint=False)
    spectrum = np.fft.rfft(x**2 * np.cos(np.pi * x)) / len(x)
    # sampling folds the waves beyond 2^17 back: about 1e-10 here
    np.testing.assert_allclose(start(np.arange(40)), spectrum[:40].real, rtol=0, atol=1e-9)
    reference = AllenCahnReference(4e-4, 160)
    places = torch.linspace(-1, 1, 101, dtype=torch.float64)
    u = reference.values(torch.stack([places, 0 * places], 1))["u"]
    # eight times as many waves as the series has are left at t = 0: Σ 4/(πk)² beyond 1280
    torch.testing.assert_close(u, places**2 * torch.cos(torch.pi * places), rtol=0, atol=4e-4)


def test_the_steps_between_kept_times_must_allow_the_comparison():
    class Odd(KortewegDeVriesReference):
        def __init__(self):
            super(KortewegDeVriesReference, self).__init__({}, 8, [Segment(1.0, 0.1, 5)])

    with pytest.raises(ValueError, match="multiple of four"):
        Odd()
