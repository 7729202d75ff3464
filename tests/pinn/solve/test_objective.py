"""The loss is what the formula says, however its points are cut into chunks, and as a sum of squares too."""

import pytest
import torch

from pinn.conditions.condition import ConditionPoints
from pinn.solve.least_squares import Residuals
from pinn.solve.objective import Objective, Weights, pack
from pinn.solve.system import PointGroup, System
from pinn.solve.trial import Trial


def groups(system: System, n: int = 30) -> list[PointGroup]:
    domain = system.problem.domain
    generator = torch.Generator().manual_seed(2)
    found = [system.equation_points(domain.sample(n, generator))]
    for name, (condition, _, _) in system.conditions.items():
        found.append(system.condition_points(name, condition.sample(domain, 7, generator)))
    return found


def weights(system: System, found: list[PointGroup]) -> Weights:
    """Different numbers for every term, and for every point of the first."""
    terms = {term: 0.5 + number for number, term in enumerate(system.terms)}
    return Weights(terms, {system.terms[0]: torch.linspace(0.1, 2.0, len(found[0]), dtype=torch.float64)})


def objective(system: System, trial: Trial, chunk: int = 10_000, accumulate: int = 1) -> Objective:
    found = groups(system)
    return Objective(system, trial, found, weights(system, found), chunk, accumulate)


def flat_gradient(trial: Trial) -> torch.Tensor:
    return torch.cat([p.grad.reshape(-1) for p in trial.parameters()])


def test_the_loss_is_the_weighted_mean_of_squares(decay):
    system, trial = decay
    found = objective(system, trial)
    terms = found.gradients()
    expected = 0.0
    for group in groups(system):
        for term, residual in system.residuals(trial, group, 0, len(group.points)).items():
            torch.testing.assert_close(terms[term], residual.square().mean().detach(), rtol=1e-13, atol=0)
            per_point = found.weights.points.get(term, torch.ones(()))
            expected = expected + found.weights.terms[term] * (per_point * residual.square()).mean()
    assert set(terms) == {"loss", *system.terms}
    torch.testing.assert_close(terms["loss"], expected.detach(), rtol=1e-13, atol=0)
    gradient = flat_gradient(trial)
    oracle = torch.cat([g.reshape(-1) for g in torch.autograd.grad(expected, list(trial.parameters()))])
    # sums of 30 terms in another order
    torch.testing.assert_close(gradient, oracle, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(found.values()["loss"], terms["loss"], rtol=1e-14, atol=0)


@pytest.mark.parametrize(("chunk", "accumulate"), [(1, 1), (7, 1), (10_000, 4), (13, 3)])
def test_chunks_add_up_to_one_batch(decay, chunk, accumulate):
    system, trial = decay
    whole = objective(system, trial).gradients()
    one = flat_gradient(trial)
    parts = objective(system, trial, chunk, accumulate)
    assert len(parts.packs) >= accumulate
    added = parts.gradients()
    for name, value in whole.items():
        torch.testing.assert_close(added[name], value, rtol=1e-13, atol=0)
    torch.testing.assert_close(flat_gradient(trial), one, rtol=1e-11, atol=1e-13)


def test_a_scaled_loss_gives_the_gradient_of_the_loss(decay):
    system, trial = decay
    objective(system, trial).gradients()
    plain = flat_gradient(trial)
    objective(system, trial, 7).gradients(scale=2.0**16)
    # a power of two scales without rounding, so only the order of the chunks' sums differs
    torch.testing.assert_close(flat_gradient(trial), plain, rtol=1e-11, atol=1e-13)


def test_packs_hold_every_row_once_and_keep_pairs_together():
    layout = None
    points = torch.arange(20.0, dtype=torch.float64)[:, None]
    single = PointGroup(points, layout, ("a",))
    pairs = PointGroup(points, layout, ("b",), given=ConditionPoints(points, group=2))
    packs = list(pack([single, pairs], 9))
    assert max(sum(c.stop - c.start for c in chunks) for chunks in packs) <= 9
    for group in (single, pairs):
        rows = [row for chunks in packs for c in chunks if c.group is group for row in range(c.start, c.stop)]
        assert rows == list(range(20))
    assert all(c.start % 2 == 0 and c.stop % 2 == 0 for chunks in packs for c in chunks if c.group is pairs)


@pytest.mark.parametrize("chunk", [10_000, 11])
def test_squares_of_the_scaled_residuals_sum_to_the_loss(decay, chunk):
    system, trial = decay
    found = objective(system, trial, chunk)
    least_squares = Residuals(found)
    loss = found.values()["loss"]
    residuals, jacobian = least_squares.jacobian()
    assert least_squares.n_residuals == len(residuals) == len(least_squares.residuals())
    torch.testing.assert_close(residuals, least_squares.residuals(), rtol=1e-13, atol=1e-15)
    torch.testing.assert_close(residuals.square().sum(), loss, rtol=1e-12, atol=0)
    found.gradients()
    # ∇ Σ r² = 2 Jᵀr
    torch.testing.assert_close(2 * jacobian.T @ residuals, flat_gradient(trial), rtol=1e-10, atol=1e-12)
    matrix, vector, total = least_squares.normal_equations()
    torch.testing.assert_close(matrix, jacobian.T @ jacobian, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(vector, jacobian.T @ residuals, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(total, loss, rtol=1e-12, atol=0)
    direction = torch.linspace(-1, 1, jacobian.shape[1], dtype=torch.float64)
    torch.testing.assert_close(least_squares.jvp(direction), jacobian @ direction, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(least_squares.vjp(residuals), jacobian.T @ residuals, rtol=1e-10, atol=1e-12)


def test_products_follow_the_weights(bump):
    system, trial = bump
    least_squares = Residuals(objective(system, trial))
    direction = torch.ones(sum(p.numel() for p in trial.parameters()), dtype=torch.float64)
    before = least_squares.jvp(direction)
    with torch.no_grad():
        next(trial.parameters()).add_(0.1)
    assert (least_squares.jvp(direction) - before).abs().max() > 1e-3


def test_a_term_of_weight_zero_is_measured_but_not_learned(decay):
    system, trial = decay
    found = objective(system, trial)
    found.weights.terms = {term: float(term == "heat") for term in system.terms}
    found.weights.points.clear()
    terms = found.gradients()
    assert terms["initial.u"] > 0
    torch.testing.assert_close(terms["loss"], terms["heat"], rtol=1e-14, atol=0)
    assert Residuals(found).n_residuals == found.sizes["heat"]
