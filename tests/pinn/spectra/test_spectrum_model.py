"""The emulated spectrum of a moving, rotating star: exact in what it does to the emulator, derivatives included."""

import numpy as np
import pytest
import torch
from scipy.special import j1

from pinn.spectra import broadening, formula
from pinn.spectra.fit_spectra import on_grid, pixels_of
from pinn.spectra.formula import RANGES, observed
from pinn.spectra.grid import LIGHT, LogGrid, log_shift
from pinn.spectra.model import SpectrumModel, continuum, rotation_of
from pinn.spectra.rotation import LOWEST, BroadeningTable, profile_transform
from training.errors import InputError


def parameters(n, seed=0, rotation=150.0):
    random = torch.Generator().manual_seed(seed)
    low, high = torch.tensor(RANGES, dtype=torch.float64).T
    drawn = torch.rand(n, 5, generator=random, dtype=torch.float64)
    labels = low + (high - low) * drawn[:, :3]
    return torch.cat([labels, 600 * drawn[:, 3:4] - 300, (rotation * drawn[:, 4:]) ** 2], dim=1)


@pytest.mark.parametrize("limb", [0.0, 0.6, 1.0])
def test_the_transform_of_the_rotation_profile_is_its_integral(limb):
    """Against quadrature of the profile itself, and for ε = 0 against its closed form; below zero too."""
    q = np.array([-15.0, -3.0, -1e-8, 0.0, 1e-8, 0.5, 15.99, 16.01, 80.0, 400.0])
    value, slope = profile_transform(q, limb)
    angle = (np.arange(4000) + 0.5) * np.pi / 4000
    y, sine = np.cos(angle), np.sin(angle)
    profile = (2 * (1 - limb) * sine + 0.5 * np.pi * limb * sine**2) * sine / (np.pi * (1 - limb / 3)) * np.pi / 4000
    z = np.sqrt(q.astype(complex))
    np.testing.assert_allclose(value, [(profile * np.cos(k * y)).sum().real for k in z], atol=2e-7, rtol=1e-6)
    assert value[3] == pytest.approx(1, abs=1e-15)
    ahead, behind = profile_transform(q + 1e-4, limb)[0], profile_transform(np.maximum(q - 1e-4, LOWEST), limb)[0]
    np.testing.assert_allclose(slope, (ahead - behind) / 2e-4, rtol=1e-5, atol=1e-9)
    if limb == 0:
        np.testing.assert_allclose(value[5:], 2 * j1(np.sqrt(q[5:])) / np.sqrt(q[5:]), atol=1e-14)


def test_the_table_is_the_transform_to_twelve_digits_and_ends_where_it_ends():
    table = BroadeningTable.up_to(300.0)
    q = torch.linspace(-15.9, 299.9, 40_001, dtype=torch.float64)
    value, slope = table(q)
    exact, rise = profile_transform(q.numpy(), 0.6)
    assert np.abs(value.numpy() - exact).max() < 1e-12 and np.abs(slope.numpy() - rise).max() < 1e-10
    assert bool(table(torch.tensor([LOWEST - 1.0, table.highest + 1.0], dtype=torch.float64))[0].isnan().all())


def test_numba_moves_and_broadens_as_torch_does():
    random = torch.Generator().manual_seed(1)
    coefficients = torch.randn(3, 5, 219, generator=random, dtype=torch.complex128)
    at = parameters(5)
    grid = LogGrid(4000.0, 4250.0, 400, 18)
    waves = grid.wave_numbers()
    table = BroadeningTable.up_to(float((waves[-1] * 300 / LIGHT) ** 2)).values
    for derivatives in (True, False):
        given = (coefficients, at[:, 3], at[:, 4], waves, table, derivatives)
        fast, reference = broadening.moved_and_broadened(*given), broadening.in_torch(*given)
        assert fast.shape == (5, 5 if derivatives else 3, 219)
        # by the squared velocity, numbers are some 1e-5
        scale = reference.abs().amax(dim=(0, 2), keepdim=True)
        assert float(((fast - reference).abs() / scale).max()) < 1e-13


def test_derivatives_are_those_of_the_flux(emulator):
    model = SpectrumModel(emulator[0])
    at = parameters(6)
    at[0, 4] = 0.0
    at[1, 4] = -900.0
    jet = model.linearise(at)
    torch.testing.assert_close(jet[:, 0], model(at), rtol=1e-13, atol=1e-13)
    for place, step in enumerate((1e-2, 1e-5, 1e-5, 1e-3, 1e-1)):
        off = torch.zeros(5, dtype=torch.float64)
        off[place] = step
        difference = (model(at + off) - model(at - off)) / (2 * step)
        scale = float(jet[:, 1 + place].abs().max())
        assert float((difference - jet[:, 1 + place]).abs().max()) < 1e-6 * scale, model.names[place]


def test_the_emulated_star_is_the_formulas_star(emulator, templates):
    """Shift and rotation are exact: what is left is the error of the emulator at rest."""
    found, accuracy = emulator
    model = SpectrumModel(found)
    at = parameters(60)
    truth = observed(templates.lines, templates.grid, at[:, :3], at[:, 3], at[:, 4].sqrt())
    error = (model(at) - truth)[:, templates.grid.observed]
    assert accuracy["flux_rms"] < 1e-3 and float(error.square().mean().sqrt()) < 1.3 * accuracy["flux_rms"]


def test_a_shift_and_a_broadening_of_the_formula_are_exact_in_fourier_space(templates):
    """Without an emulator between them: the templates of the grid against quadrature of the formula."""
    at = parameters(40)
    grid = templates.grid
    rest = formula.templates(templates.lines, grid, at[:, :3])
    waves = grid.wave_numbers()
    table = BroadeningTable.up_to(float((waves[-1] * 300 / LIGHT) ** 2)).values
    rows = torch.fft.rfft(rest)[None]
    moved = torch.fft.irfft(broadening.in_torch(rows, at[:, 3], at[:, 4], waves, table, False)[:, 0], grid.size)
    truth = observed(templates.lines, grid, at[:, :3], at[:, 3], at[:, 4].sqrt())
    # the narrowest lines fold back by 1e-6, as much as the quadrature leaves
    assert float((moved - truth)[:, grid.observed].abs().max()) < 3e-6


def test_twice_the_nodes_of_the_disc_change_nothing(templates, monkeypatch):
    at = parameters(10)
    given = (templates.lines, templates.grid, at[:, :3], at[:, 3], at[:, 4].sqrt())
    spectra = observed(*given)
    monkeypatch.setattr(formula, "NODES", 2 * formula.NODES)
    assert float((observed(*given) - spectra).abs().max()) < 1e-6


def test_any_wavelengths_are_as_good_as_the_grids_own(emulator):
    found, _ = emulator
    at = parameters(4)
    own = SpectrumModel(found).linearise(at)
    grid = found.grid
    torch.testing.assert_close(
        SpectrumModel(found, grid.wavelengths()[20:300]).linearise(at), own[:, :, 20:300], rtol=1e-9, atol=1e-11
    )
    between = torch.linspace(4010, 4240, 333, dtype=torch.float64)
    x, first = between.log(), grid.log_wavelengths()[0]
    flux = SpectrumModel(found, between)(at)
    # band-limited interpolation by hand, at one wavelength
    spectrum = torch.fft.fft(own[0, 0])
    turns = torch.fft.fftfreq(grid.size, dtype=torch.float64) * (x[100] - first) / grid.step
    assert float(flux[0, 100]) == pytest.approx(
        float((spectrum * torch.exp(2j * torch.pi * turns)).mean().real), abs=1e-6
    )
    with pytest.raises(InputError, match=r"knows wavelengths from 39\d\d\.\d\d to 42"):
        SpectrumModel(found, torch.tensor([3000.0, 4100.0], dtype=torch.float64))


def test_pixels_of_the_grid_are_recognised_and_put_in_their_places():
    grid = LogGrid(4000.0, 4250.0, 400, 18)
    some = torch.arange(30, 200, 2)
    assert torch.equal(pixels_of(grid, grid.wavelengths()[some]), some)
    assert pixels_of(grid, grid.wavelengths()[some] * (1 + 0.2 * grid.step)) is None
    assert pixels_of(grid, torch.tensor([4001.0, 4001.0])) is None
    flux = torch.arange(85, dtype=torch.float64).expand(2, 85)
    mask = torch.zeros(2, 85, dtype=torch.bool)
    mask[1, 3] = True
    whole, errors, masked = on_grid(grid, some, flux, 2 * torch.ones(2, 1), mask)
    assert torch.equal(whole[:, some], flux) and bool((errors[:, some] == 2).all())
    assert torch.equal(masked[:, some], mask) and int((~masked).sum()) == 2 * 85 - 1


def test_a_velocity_is_the_relativistic_doppler_shift():
    velocity = torch.tensor([-300.0, 0.0, 30000.0], dtype=torch.float64)
    shift, slope = log_shift(velocity)
    beta = velocity / LIGHT
    torch.testing.assert_close(shift.exp(), ((1 + beta) / (1 - beta)).sqrt(), rtol=1e-14, atol=0.0)
    torch.testing.assert_close(
        slope, (log_shift(velocity + 1)[0] - log_shift(velocity - 1)[0]) / 2, rtol=1e-7, atol=0.0
    )


def test_the_continuum_is_orthogonal_over_the_observed_range():
    grid = LogGrid(4000.0, 4250.0, 4000, 8)
    basis = continuum(grid, 5)[grid.observed]
    products = basis.T @ basis / len(basis) * (2 * torch.arange(5) + 1)
    torch.testing.assert_close(products, torch.eye(5, dtype=torch.float64), rtol=0, atol=5e-3)
    torch.testing.assert_close(continuum(grid, 3, grid.wavelengths()), continuum(grid, 3), rtol=1e-12, atol=1e-12)


def test_rotation_is_the_root_of_its_square_and_zero_below():
    value, error = rotation_of(torch.tensor([1600.0, 0.0, -50.0]), torch.tensor([80.0, 100.0, 100.0]))
    assert (
        value.tolist() == [40.0, 0.0, 0.0]
        and error[0] == pytest.approx(0.99, abs=0.02)
        and error[1:].tolist() == [10, 10]
    )
