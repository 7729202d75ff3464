"""Many fits in lock-step: each ends where it would alone, whatever happens to the others."""

import math

import pytest
import torch

from training.optimizers.batched_covariance import covariances
from training.optimizers.batched_damping import BatchedDamping
from training.optimizers.batched_least_squares import Batch, LockStep, Status, Stopping
from training.optimizers.batched_model import as_model
from training.optimizers.batched_steps import Bounds, bounded_steps, decrements
from training.optimizers.batched_sums import LinearTerms, normal_equations
from training.optimizers.damping import Damping
from training.optimizers.gauss_newton import GaussNewton

X = torch.linspace(-4, 4, 60, dtype=torch.float64)
INF = math.inf


class Bell:
    """``h exp(−(x − c)²/2w²)`` with parameters c, ln w, h and derivatives by hand."""

    def __call__(self, parameters):
        return self.linearise(parameters)[:, 0]

    def linearise(self, parameters):
        c, w, h = parameters[:, 0:1], parameters[:, 1:2].exp(), parameters[:, 2:3]
        z = (X - c) / w
        bell = torch.exp(-0.5 * z * z)
        return torch.stack([h * bell, h * bell * z / w, h * bell * z * z, bell], dim=1)


def bells(n, seed=0, noise=0.05):
    """Parameters and noisy data of n bells."""
    random = torch.Generator().manual_seed(seed)
    truth = torch.rand(n, 3, generator=random, dtype=torch.float64)
    truth = truth * torch.tensor([3.0, 0.8, 1.5], dtype=torch.float64) + torch.tensor([-1.5, -0.4, 0.7])
    data = Bell()(truth) + noise * torch.randn(n, len(X), generator=random, dtype=torch.float64)
    return truth, data


class OneBell:
    """A single bell as the Gauss-Newton stage sees a problem."""

    n_residuals = len(X)

    def __init__(self, parameters, data):
        self.parameters, self.data = parameters, data

    def _jet(self):
        return Bell().linearise(self.parameters.detach()[None])[0] / 0.05

    def residuals(self):
        return self._jet()[0] - self.data / 0.05

    def loss(self):
        return self.residuals().square().sum()

    def normal_equations(self):
        jacobian, residuals = self._jet()[1:], self.residuals()
        return jacobian @ jacobian.T, jacobian @ residuals, residuals.square().sum()


def batch(data, start=(0.0, 0.0, 1.0), model=None, bounds=None, prior=None, terms=None, weights=None, sigma=0.05):
    n, p = len(data), len(start)
    low, high = bounds or ([-INF] * p, [INF] * p)
    mean, width = prior or ([0.0] * p, [INF] * p)
    spread = lambda row: torch.tensor(row, dtype=torch.float64).expand(n, p).contiguous()  # noqa: E731
    return Batch(
        as_model(model or Bell()), data, torch.full_like(data, sigma**-2) if weights is None else weights,
        spread(list(start)), Bounds(spread(low), spread(high)), spread(mean), spread(width).pow(-2), (), terms,
    )  # fmt: skip


def test_a_batch_of_one_takes_the_steps_of_gauss_newton():
    """The same equations, damping rule and acceptance: the iterates agree to rounding, step by step."""
    _, data = bells(1)
    parameters = torch.tensor([1.8, -0.3, 0.3], dtype=torch.float64, requires_grad=True)
    start = parameters.tolist()
    problem = OneBell(parameters, data[0])
    single = GaussNewton([parameters], damping=1e-3, metric="marquardt", solver="dense", geodesic=False, attempts=1)
    path = []
    for _ in range(9):
        single.step(problem)
        path.append(parameters.detach().clone())
        single.objective_changed()
    for steps, point in enumerate(path, 1):
        fitted = LockStep(batch(data, start), 1, Stopping(tolerance=0.0, max_iterations=steps + 1)).run()
        torch.testing.assert_close(fitted.parameters[0], point, rtol=1e-9, atol=1e-11)
    assert (path[-1] - path[0]).norm() > 0.1


def test_each_row_is_damped_by_the_rule_for_one():
    gains = [0.9, 0.1, 3.0, -1.0, 0.5]
    accepted = torch.tensor([gain > 0 for gain in gains])
    many = BatchedDamping.starting(0.3, torch.zeros(5, dtype=torch.float64))
    one = [Damping(0.3)] * 5
    for _ in range(3):
        many = many.after(accepted, torch.tensor(gains, dtype=torch.float64))
        one = [d.after_success(g) if g > 0 else d.after_failure() for d, g in zip(one, gains, strict=True)]
    for value, growth, known, gain in zip(many.value.tolist(), many.growth.tolist(), one, gains, strict=True):
        assert value == pytest.approx(known.value, rel=1e-14)
        # a success forgets how fast the failures before it had raised the damping
        assert growth == (known.growth if gain < 0 else 2.0)


@pytest.mark.parametrize("slots", [1, 3, 64])
def test_a_fit_in_a_batch_is_the_fit_alone(slots):
    """Whatever the number of slots: problems that are let in late and moved when slots close up are not mixed up."""
    _, data = bells(16)
    together = LockStep(batch(data), slots).run()
    for row in (0, 7, 15):
        alone = LockStep(batch(data[row : row + 1]), 1).run()
        torch.testing.assert_close(together.parameters[row], alone.parameters[0], rtol=1e-10, atol=1e-12)
        assert together.iterations[row] == alone.iterations[0]
        torch.testing.assert_close(together.equations.matrix[row], alone.equations.matrix[0], rtol=1e-8, atol=1e-8)
    assert bool((together.status == Status.CONVERGED).all())


def test_no_evaluation_is_spent_on_a_finished_fit():
    _, data = bells(50)
    fitted = LockStep(batch(data), 16).run()
    assert sum(fitted.evaluations) == int(fitted.iterations.sum())
    # the slots stay full as long as somebody waits
    assert fitted.evaluations[: 50 // 16] == [16] * 3
    assert fitted.evaluations == sorted(fitted.evaluations, reverse=True)


def test_progress_counts_every_fit_once():
    _, data = bells(20)
    seen = []
    LockStep(batch(data), 7).run(seen.append)
    assert sum(seen) == 20 and min(seen) >= 1


def test_failures_are_flagged_and_leave_the_others_alone():
    """A model that is not finite, a start without numbers, a flat direction, too few iterations: each by its name."""

    class Fragile(Bell):
        def linearise(self, parameters):
            jet = super().linearise(parameters)
            # the third kind of row has no influence of c and ln w; the second is finite nowhere
            jet[:, 1:3] *= (parameters[:, 2] < 50)[:, None, None]
            jet[parameters[:, 2] < -5] = math.nan
            return jet

    _, data = bells(12)
    healthy = LockStep(batch(data), 12).run()
    problem = batch(data, model=Fragile())
    problem.start[3] = torch.tensor([0.0, 0.0, -9.0])
    problem.data[5] *= 100
    problem.start[5] = torch.tensor([0.0, 0.0, 100.0])
    problem.start[8] = math.nan
    fitted = LockStep(problem, 12).run()
    assert fitted.status[3] == Status.NOT_FINITE and fitted.status[8] == Status.NOT_FINITE
    assert fitted.parameters[3].tolist() == [0.0, 0.0, -9.0]
    singular = covariances(fitted.equations, fitted.parameters, problem.bounds)[1]
    assert bool(singular[5]) and not bool(singular[[0, 1, 2, 4, 6, 7, 9, 10, 11]].any())
    others = [0, 1, 2, 4, 6, 7, 9, 10, 11]
    torch.testing.assert_close(fitted.parameters[others], healthy.parameters[others], rtol=1e-12, atol=1e-13)
    assert fitted.iterations[others].tolist() == healthy.iterations[others].tolist()
    early = LockStep(batch(data), 12, Stopping(max_iterations=2)).run()
    assert bool((early.status == Status.MAX_ITERATIONS).all())


def test_wrong_derivatives_stall_and_say_so():
    class Backwards(Bell):
        def linearise(self, parameters):
            jet = super().linearise(parameters)
            jet[:, 1:] *= -1
            return jet

    _, data = bells(4)
    assert LockStep(batch(data, model=Backwards()), 4).run().status.tolist() == [Status.STALLED] * 4


def test_bounds_hold_exactly_and_the_rest_is_at_its_minimum():
    truth, data = bells(40)
    low, high = [-0.5, -0.2, 0.0], [0.5, 0.1, 3.0]
    problem = batch(data, bounds=(low, high))
    fitted = LockStep(problem, 40).run()
    assert bool((fitted.parameters >= problem.bounds.lower).all() & (fitted.parameters <= problem.bounds.upper).all())
    outside = (truth[:, 0].abs() > 0.6) | (truth[:, 1] > 0.2) | (truth[:, 1] < -0.35)
    assert outside.sum() > 10
    assert set(fitted.status[outside].tolist()) == {Status.AT_BOUND}
    # first-order conditions of the bounded problem: no free parameter has a slope, no held one wants back inside
    held = problem.bounds.held(fitted.parameters, fitted.equations.gradient)
    left = decrements(fitted.equations.matrix, fitted.equations.gradient, held)
    # a thousandth of a standard error, which a bad fit's χ² makes larger
    tolerance = 1e-6 * fitted.equations.chi2 / (len(X) - 3)
    assert bool((left <= tolerance).all()) and bool(held[fitted.status == Status.AT_BOUND].any(1).all())


def test_a_step_inside_bounds_solves_the_bounded_quadratic_problem():
    """First-order conditions: free parameters have no slope, held ones are pressed against their bounds."""
    random = torch.Generator().manual_seed(3)
    n, p = 300, 4
    root = torch.randn(n, p, p, generator=random, dtype=torch.float64)
    matrix = root @ root.transpose(1, 2) + 0.1 * torch.eye(p, dtype=torch.float64)
    gradient = torch.randn(n, p, generator=random, dtype=torch.float64)
    zero = torch.zeros(n, p, dtype=torch.float64)
    steps, foretold = bounded_steps(matrix, gradient, zero[:, 0], zero + 1, zero, Bounds(zero - 0.4, zero + 0.4))
    slope = gradient + (matrix @ steps[:, :, None])[:, :, 0]
    free = steps.abs() < 0.4
    optimal = torch.where(free, slope.abs() < 1e-10, slope * steps <= 1e-10).all(1)
    # the method may go round in circles where the matrix couples strongly; the true decrease is judged in any case
    assert float(optimal.double().mean()) > 0.97 and 0.2 < float(free.double().mean()) < 0.9
    assert float(steps.abs().max()) <= 0.4
    torch.testing.assert_close(foretold, -((gradient + slope) * steps).sum(1), rtol=1e-11, atol=1e-13)
    assert float(foretold[optimal].min()) > 0


def test_a_prior_pulls_as_one_more_datum_would():
    _, data = bells(6)
    fitted = LockStep(batch(data, prior=([0.3, 0.0, 0.0], [0.02, INF, INF])), 6).run()

    class WithDatum(Bell):
        def linearise(self, parameters):
            jet = super().linearise(parameters)
            more = torch.zeros(*jet.shape[:2], 1, dtype=torch.float64)
            more[:, 0, 0], more[:, 1, 0] = parameters[:, 0], 1.0
            return torch.cat([jet, more], dim=2)

    wider = torch.cat([data, torch.full((6, 1), 0.3, dtype=torch.float64)], dim=1)
    weights = torch.full_like(wider, 400.0)
    weights[:, -1] = 0.02**-2
    datum = LockStep(batch(wider, model=WithDatum(), weights=weights), 6).run()
    torch.testing.assert_close(fitted.parameters, datum.parameters, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(fitted.equations.chi2, datum.equations.chi2, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(fitted.equations.matrix, datum.equations.matrix, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("effect", ["multiplied", "added"])
def test_projecting_linear_terms_out_is_the_joint_fit(effect):
    """Parameters, coefficients, χ² and the covariance of all of them together."""
    _, data = bells(10, noise=0.02)
    basis = torch.stack([torch.ones_like(X), X / 4], dim=1)

    class Shape(Bell):
        """A bell of height 1 on a floor, so that both kinds of linear terms mean something."""

        def linearise(self, parameters):
            full = torch.cat([parameters, torch.ones(len(parameters), 1)], dim=1).double()
            jet = super().linearise(full)[:, :3]
            jet[:, 0] += 0.5
            return jet

    class Joint(Shape):
        def linearise(self, parameters):
            jet = super().linearise(parameters[:, :2])
            lifted = parameters[:, 2:] @ basis.T
            if effect == "multiplied":
                columns = jet[:, :1] * basis.T
                jet = jet * lifted[:, None]
            else:
                columns = basis.T.expand(len(jet), 2, len(X))
                jet = torch.cat([jet[:, :1] + lifted[:, None], jet[:, 1:]], dim=1)
            return torch.cat([jet, columns], dim=1)

    data = data + 0.4
    tight = Stopping(tolerance=1e-7)
    projected = batch(data, (0.0, 0.0), Shape(), terms=LinearTerms(basis, effect))
    joint = batch(data, (0.0, 0.0, 1.0, 0.0), Joint())
    one, other = LockStep(projected, 10, tight).run(), LockStep(joint, 10, tight).run()
    found = torch.cat([one.parameters, one.equations.coefficients], dim=1)
    torch.testing.assert_close(found, other.parameters, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(one.equations.chi2, other.equations.chi2, rtol=1e-10, atol=1e-9)
    mine, its = (
        covariances(fitted.equations, fitted.parameters, given.bounds)[0]
        for fitted, given in ((one, projected), (other, joint))
    )
    torch.testing.assert_close(mine, its, rtol=1e-5, atol=1e-9)


def test_the_projected_gradient_is_that_of_chi2():
    """Finite differences of χ² with the coefficients at their best everywhere."""
    _, data = bells(3)
    terms = LinearTerms(torch.stack([torch.ones_like(X), X, X * X], dim=1))
    weights = torch.full_like(data, 400.0)
    at = torch.tensor([[0.2, -0.1, 1.0]] * 3, dtype=torch.float64)

    class Lifted(Bell):
        def linearise(self, parameters):
            jet = super().linearise(parameters)
            jet[:, 0] += 1
            return jet

    found = normal_equations(Lifted().linearise(at), data, weights, terms)
    step = 1e-5
    for place in range(3):
        off = torch.zeros(3, dtype=torch.float64)
        off[place] = step
        above, below = (normal_equations(Lifted().linearise(at + s * off), data, weights, terms).chi2 for s in (1, -1))
        torch.testing.assert_close(found.gradient[:, place], (above - below) / (4 * step), rtol=1e-6, atol=1e-5)


def test_covariance_of_a_linear_problem_is_the_textbook_one():
    random = torch.Generator().manual_seed(1)
    design = torch.randn(40, 3, generator=random, dtype=torch.float64) * torch.tensor([1.0, 1e-6, 1e6])

    class Linear:
        def __call__(self, parameters):
            return parameters @ design.T

        def linearise(self, parameters):
            return torch.cat([self(parameters)[:, None], design.T.expand(len(parameters), 3, 40)], dim=1)

    data = torch.randn(5, 40, generator=random, dtype=torch.float64)
    weights = torch.rand(5, 40, generator=random, dtype=torch.float64) + 0.5
    weights[:, ::7] = 0
    problem = batch(data, (0.0, 0.0, 0.0), Linear(), weights=weights)
    fitted = LockStep(problem, 5).run()
    covariance, singular = covariances(fitted.equations, fitted.parameters, problem.bounds)
    assert not bool(singular.any())
    for row in range(5):
        expected = torch.linalg.inv(design.T @ (weights[row][:, None] * design))
        torch.testing.assert_close(covariance[row], expected, rtol=1e-9, atol=0.0)
        solved = expected @ design.T @ (weights[row] * data[row])
        # within a thousandth of a standard error, whatever the units of a parameter
        assert float(((fitted.parameters[row] - solved) / expected.diagonal().sqrt()).abs().max()) < 1e-3
