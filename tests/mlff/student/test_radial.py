"""Radial functions and envelopes: their hand-written slopes, and how they end at the cutoff."""

import pytest
import torch

from mlff.student.cutoff import CosineCutoff, PolynomialCutoff
from mlff.student.layers import RadialFeatures, RadialFilter
from mlff.student.radial import BesselBasis, GaussianBasis

ENVELOPES = [PolynomialCutoff(5.0), CosineCutoff(5.0), PolynomialCutoff(2.5)]
BASES = [BesselBasis(20, 5.0), GaussianBasis(20, 5.0), BesselBasis(2, 3.0), GaussianBasis(2, 3.0)]


def slope_by_autograd(function, distance: torch.Tensor) -> torch.Tensor:
    columns = function(distance)[0].reshape(len(distance), -1).unbind(-1)
    slopes = [torch.autograd.grad(column.sum(), distance, retain_graph=True)[0] for column in columns]
    return torch.stack(slopes, dim=-1)


@pytest.mark.parametrize("envelope", ENVELOPES, ids=lambda e: f"{type(e).__name__} {e.cutoff}")
class TestEveryEnvelope:
    def test_is_one_at_contact_and_zero_with_its_slope_from_the_radius_on(self, envelope):
        distance = torch.tensor([0.0, envelope.cutoff, envelope.cutoff + 1e-9, 50.0], dtype=torch.float64)
        values, slopes = envelope(distance)
        assert values[0] == 1.0 and slopes[0] == 0.0
        # a sum of powers near 28 rounds to a few 1e-15
        assert values[1:].abs().max() < 1e-14 and slopes[1:].abs().max() < 1e-14

    def test_slope_equals_autograd(self, envelope):
        distance = torch.linspace(0.3, 0.99 * envelope.cutoff, 50, dtype=torch.float64, requires_grad=True)
        torch.testing.assert_close(
            envelope(distance)[1], slope_by_autograd(envelope, distance).squeeze(-1), rtol=1e-11, atol=1e-13
        )


def test_the_polynomial_envelope_ends_with_a_smooth_curvature():
    distance = torch.tensor([5.0 - 1e-6], dtype=torch.float64, requires_grad=True)
    slope = PolynomialCutoff(5.0)(distance)[1]
    (curvature,) = torch.autograd.grad(slope, distance)
    # the third derivative is of order one, so 1e-6 Å before the end at most 1e-4 is left
    assert abs(curvature.item()) < 1e-4


@pytest.mark.parametrize("basis", BASES, ids=lambda b: f"{type(b).__name__} {b.size}")
def test_slopes_of_a_basis_equal_autograd(basis):
    distance = torch.linspace(0.4, basis.cutoff, 40, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(basis(distance)[1], slope_by_autograd(basis, distance), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("basis", BASES[:2], ids=lambda b: type(b).__name__)
class TestFilter:
    def test_is_zero_at_the_cutoff_in_spite_of_its_bias(self, basis):
        layer = RadialFilter(basis.size, 6).double()
        torch.nn.init.constant_(layer.dense.bias, 3.0)
        radial = RadialFeatures.of(torch.tensor([5.0], dtype=torch.float64), basis, PolynomialCutoff(5.0))
        assert layer(radial).abs().max() < 1e-13

    def test_reverse_equals_autograd(self, basis):
        layer = RadialFilter(basis.size, 6).double()
        distance = torch.linspace(0.8, 4.9, 15, dtype=torch.float64, requires_grad=True)
        radial = RadialFeatures.of(distance, basis, PolynomialCutoff(5.0))
        bar = torch.randn(15, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        (oracle,) = torch.autograd.grad((layer(radial) * bar).sum(), distance, retain_graph=True)
        torch.testing.assert_close(layer.reverse(bar, radial), oracle, rtol=1e-11, atol=1e-12)
