"""What all references share: values by field, columns by name, and errors that name the coordinates."""

import math

import pytest
import torch

from pinn.references.measurements import measured
from pinn.references.reference import ROUNDING, Exact, relative_l2
from training.errors import ConfigurationError, InputError


def wave() -> Exact:
    return Exact(("x", "t"), {"u": lambda x, t: torch.sin(x - t), "one": lambda x, t: torch.ones(())})


class Line:
    """Points on (0, 1) × (0, 1)."""

    def sample(self, n, generator):
        return torch.rand(n, 2, generator=generator, dtype=torch.float64)


def test_values_come_by_field_in_double_precision_whatever_the_points_are():
    values = wave().values(torch.tensor([[0.5, 0.25], [1.0, 1.0]], dtype=torch.float32))
    assert list(values) == ["u", "one"]
    assert values["u"].dtype == torch.float64
    torch.testing.assert_close(
        values["u"], torch.tensor([math.sin(0.25), 0.0], dtype=torch.float64), rtol=0, atol=1e-16
    )
    assert values["one"].tolist() == [1.0, 1.0]
    assert wave().floor == ROUNDING and "closed form" in wave().floor_note


def test_points_with_other_columns_are_refused_by_name():
    with pytest.raises(InputError, match="x, t"):
        wave().values(torch.zeros(3, 3))


def test_relative_l2_weighs_entries():
    reference, values = torch.tensor([3.0, 4.0]).double(), torch.tensor([3.0, 4.5]).double()
    assert relative_l2(values, reference) == pytest.approx(0.1, rel=1e-12)
    assert relative_l2(values, reference, torch.tensor([0.0, 1.0])) == pytest.approx(0.125, rel=1e-12)


def test_measurements_have_the_noise_asked_for_and_repeat_with_their_seed():
    n = 20_000
    points, values = measured(wave(), Line(), n, noise=0.1, seed=3)
    again = measured(wave(), Line(), n, noise=0.1, seed=3)
    assert torch.equal(points, again[0]) and torch.equal(values, again[1])
    truth = wave().values(points)["u"]
    errors = (values - truth) / truth.std()
    # the standard deviation of n samples is uncertain by 1/√(2n) = 0.5 %, their mean by 1/√n = 0.7 % of it
    assert errors.std().item() == pytest.approx(0.1, rel=0.02)
    assert abs(errors.mean().item()) < 0.1 * 4 / math.sqrt(n)
    clean_points, clean = measured(wave(), Line(), n, noise=0.0, seed=3)
    assert torch.equal(clean_points, points) and torch.equal(clean, truth)


@pytest.mark.parametrize(("count", "noise"), [(0, 0.1), (5, -0.1), (5, float("nan"))])
def test_impossible_measurements_are_refused(count, noise):
    with pytest.raises(ConfigurationError, match="measurements"):
        measured(wave(), Line(), count, noise, seed=0)
