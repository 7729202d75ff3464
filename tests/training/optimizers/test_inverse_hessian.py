"""The rank-two update equals its published formula, satisfies the secant equation and stays symmetric and positive."""

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from training.optimizers.inverse_hessian import UPDATES, Workspace, is_positive, scaling, update_in_place


def published(update, matrix, s, y, g, alpha, first):
    """The formula as printed, evaluated literally with dense matrices: g is the gradient before the step s = −α H g."""
    n = len(s)
    rho = 1 / (y @ s)
    z = matrix @ y
    h, b = rho * (y @ z), -alpha * rho * (s @ g)
    a = h * b - 1
    theta = torch.zeros(())
    if update == "ssbroyden":
        r = torch.minimum(torch.ones(()), h * (1 - torch.sqrt(a / (1 + a))))
        theta = torch.maximum((r - 1) / a, torch.minimum(1 / r, (1 - b) / b))
    sigma = 1 + a * theta
    if first:
        tau = h / sigma
    elif update == "bfgs":
        tau = torch.ones(())
    else:
        q = torch.minimum(torch.ones(()), 1 / b)
        root = sigma.abs() ** (1 / (1 - n))
        tau = torch.minimum(q * root, sigma) if theta <= 0 else q * torch.minimum(root, 1 / theta)
    phi = (1 - theta) / sigma
    v = rho * s - z / (y @ z)
    inner = matrix - torch.outer(z, z) / (y @ z) + phi * (y @ z) * torch.outer(v, v)
    return inner / tau + rho * torch.outer(s, s)


def problem(seed, n, curvature=2.0):
    """A positive matrix, a step along its direction, and a change of gradient with positive curvature."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    root = draw(n, n) / math.sqrt(n) + torch.eye(n, dtype=torch.float64)
    matrix = root @ root.T
    matrix = (matrix + matrix.T) / 2
    gradient = draw(n)
    alpha = 10 ** float(draw(()).clamp(-2, 2))
    step = -alpha * matrix @ gradient
    hessian = draw(n, n)
    hessian = hessian @ hessian.T / n + torch.eye(n, dtype=torch.float64)
    change = 10 ** float(draw(()).clamp(-1, 1)) * curvature * hessian @ step
    return matrix, step, change, gradient, alpha


def filled(step, change, gradient):
    work = Workspace(step)
    work.step.copy_(step)
    work.change.copy_(change)
    work.gradient.copy_(gradient + change)
    return work


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 40), update=st.sampled_from(UPDATES), first=st.booleans())
def test_equals_the_published_formula(seed, n, update, first):
    matrix, step, change, gradient, alpha = problem(seed, n)
    if first:
        matrix = torch.eye(n, dtype=torch.float64)
        step = -alpha * gradient
        change = change * (step @ step) / (change @ step).abs() if change @ step > 0 else 3 * step + 0.1 * step.flip(0)
    assume(change @ step > 1e-3 * change.norm() * step.norm())
    expected = published(update, matrix, step, change, gradient, alpha, first)
    updated = matrix.clone()
    work = filled(step, change, gradient)
    direction = update_in_place(updated, work, update, alpha * float(step @ gradient), first)
    scale = expected.abs().max()
    # the terms that cancel are larger than the result by up to the condition of the update
    assert (updated - expected).abs().max() < 1e-12 * max(scale, matrix.abs().max())
    after = gradient + change
    torch.testing.assert_close(
        direction, -updated @ after, rtol=1e-10, atol=1e-11 * float(scale * after.norm()), msg="direction"
    )


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 40), update=st.sampled_from(UPDATES), first=st.booleans())
def test_satisfies_the_secant_equation_and_stays_symmetric_and_positive(seed, n, update, first):
    matrix, step, change, gradient, alpha = problem(seed, n)
    assert (
        update_in_place(matrix, filled(step, change, gradient), update, alpha * float(step @ gradient), first)
        is not None
    )
    assert (matrix @ change - step).norm() < 1e-11 * matrix.norm() * change.norm()
    assert torch.equal(matrix, matrix.T)
    assert is_positive(matrix)


def test_stays_symmetric_to_the_last_bit_over_many_updates_of_any_size():
    for n in (3, 17, 64, 257):
        matrix = torch.eye(n, dtype=torch.float64)
        for seed in range(20):
            _, _, _, gradient, _ = problem(seed, n)
            step = -0.3 * matrix @ gradient
            change = step * torch.linspace(0.1, 10, n, dtype=torch.float64)
            update_in_place(matrix, filled(step, change, gradient), "ssbroyden", 0.3 * float(step @ gradient), False)
        assert torch.equal(matrix, matrix.T)


@pytest.mark.parametrize("update", UPDATES)
def test_negative_or_vanishing_curvature_changes_nothing(update):
    matrix, step, change, gradient, alpha = problem(0, 6)
    descent = alpha * float(step @ gradient)
    sideways = change - step * (change @ step) / (step @ step)
    for bad in (-change, sideways, torch.full_like(change, math.nan)):
        before = matrix.clone()
        assert update_in_place(matrix, filled(step, bad, gradient), update, descent, False) is None
        assert torch.equal(matrix, before)


def test_parallel_step_and_image_are_bfgs():
    """On the line s ∥ Hy all members agree, and a/(1+a) would divide nothing by nothing."""
    for update in UPDATES:
        assert scaling(update, h=0.5, b=2.0, size=10, first=False).phi == 1.0


@given(h=st.floats(1e-6, 1e6), b=st.floats(1e-6, 1e6), size=st.integers(1, 5000), first=st.booleans())
def test_scalings_are_finite_and_keep_the_matrix_positive(h, b, size, first):
    assume(h * b >= 1)
    for update in UPDATES:
        chosen = scaling(update, h, b, size, first)
        assert math.isfinite(chosen.tau) and chosen.tau > 0
        # the family is positive for φ above −1/a
        assert chosen.phi * (h * b - 1) > -1


def test_a_matrix_that_is_not_positive_or_not_finite_is_recognised():
    matrix = torch.eye(4, dtype=torch.float64)
    assert is_positive(matrix)
    matrix[2, 2] = -1e-9
    assert not is_positive(matrix)
    matrix[2, 2] = math.inf
    assert not is_positive(matrix)
