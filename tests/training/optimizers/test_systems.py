"""The three forms of the damped linear problem have one solution, and the protocol's products fit together."""

import pytest
import torch

from training.optimizers.damping import Damping, foretold_decrease
from training.optimizers.least_squares import FunctionResiduals
from training.optimizers.systems import KernelSystem, MatrixFreeSystem, NormalSystem, positive_metric


def curve(n_residuals, seed=0):
    """Residuals of a small fit with three parameter tensors of different shapes, ten weights in all."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.linspace(-1, 1, n_residuals, dtype=torch.float64)
    target = torch.randn(n_residuals, generator=generator, dtype=torch.float64)

    def function(parameters):
        inner, outer, shift = parameters
        hidden = torch.tanh(x[:, None] * inner[0] + inner[1])
        return hidden @ outer[:, 0] + shift - target

    shapes = ((2, 3), (3, 1), ())
    parameters = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    return FunctionResiduals(function, parameters)


class TestFunctionResiduals:
    def test_jacobian_is_the_derivative_of_the_residuals(self):
        problem = curve(7)
        _, jacobian = problem.jacobian()
        assert jacobian.shape == (7, 10) and problem.n_residuals == 7
        h, column = 1e-6, 0
        for parameter in problem.parameters:
            for value in parameter.view(-1).split(1):
                value.add_(h)
                ahead = problem.residuals()
                value.sub_(2 * h)
                # central differences: h² of the third derivative, and 1e-16/h of rounding
                numerical = (ahead - problem.residuals()) / (2 * h)
                value.add_(h)
                torch.testing.assert_close(jacobian[:, column], numerical, rtol=1e-8, atol=1e-9)
                column += 1

    def test_products_and_normal_equations_are_those_of_the_jacobian(self):
        problem = curve(7)
        residuals, jacobian = problem.jacobian()
        v, w = torch.randn(10, dtype=torch.float64), torch.randn(7, dtype=torch.float64)
        torch.testing.assert_close(problem.jvp(v), jacobian @ v, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(problem.vjp(w), jacobian.T @ w, rtol=1e-12, atol=1e-14)
        matrix, gradient, loss = problem.normal_equations()
        torch.testing.assert_close(matrix, jacobian.T @ jacobian, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(gradient, jacobian.T @ residuals, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(loss, problem.loss(), rtol=1e-14, atol=0)


@pytest.mark.parametrize("n_residuals", [4, 10, 40])
@pytest.mark.parametrize("damping", [1e-3, 1.0])
class TestEveryForm:
    def systems(self, n_residuals):
        problem = curve(n_residuals)
        # conjugate gradients need as many iterations as there are weights, and some more for rounding
        return NormalSystem(problem), KernelSystem(problem), MatrixFreeSystem(problem, 60, 1e-13)

    @pytest.mark.parametrize("scaled", [False, True])
    def test_solves_the_damped_equations(self, n_residuals, damping, scaled):
        residuals, jacobian = curve(n_residuals).jacobian()
        metric = positive_metric(jacobian.square().sum(0)) if scaled else None
        weights = torch.ones(10, dtype=torch.float64) if metric is None else metric
        matrix = jacobian.T @ jacobian + damping * torch.diag(weights)
        for right in (None, torch.linspace(-1, 1, n_residuals, dtype=torch.float64)):
            expected = torch.linalg.solve(matrix, jacobian.T @ (residuals if right is None else right))
            for system in self.systems(n_residuals):
                solution = system.solve(damping, metric, right)
                # rounding grows with the condition, up to 1e4 here
                torch.testing.assert_close(solution, expected, rtol=1e-9, atol=1e-11, msg=type(system).__name__)

    def test_knows_loss_gradient_and_curvature(self, n_residuals, damping):
        residuals, jacobian = curve(n_residuals).jacobian()
        direction = torch.linspace(-1, 2, 10, dtype=torch.float64)
        for system in self.systems(n_residuals):
            assert system.loss == pytest.approx(float(residuals.square().sum()), rel=1e-13)
            torch.testing.assert_close(system.gradient, jacobian.T @ residuals, rtol=1e-11, atol=1e-13)
            assert system.curvature(direction) == pytest.approx(float((jacobian @ direction).square().sum()), rel=1e-11)
            largest = float(torch.linalg.eigvalsh(jacobian.T @ jacobian)[-1])
            # a diagonal entry and a Rayleigh quotient lie below the largest eigenvalue
            assert 0.01 * largest < system.largest() <= largest * (1 + 1e-12)


def test_a_factor_is_kept_for_its_damping_only():
    system = NormalSystem(curve(40))
    first, second = system.solve(1e-2, None), system.solve(1.0, None)
    torch.testing.assert_close(system.solve(1e-2, None), first, rtol=0, atol=0)
    assert first.norm() > second.norm()


def test_a_singular_matrix_without_damping_has_no_solution():
    assert NormalSystem(curve(4)).solve(-1e-3, None) is None


def test_truncated_conjugate_gradients_still_descend():
    for iterations in (1, 2, 3):
        system = MatrixFreeSystem(curve(40), iterations, 0.0)
        solution = system.solve(1e-6, None)
        assert system.products == iterations and torch.dot(solution, system.gradient) > 0


def test_a_weight_without_influence_gets_a_positive_metric():
    metric = positive_metric(torch.tensor([4.0, 0.0, 1e-20]))
    assert metric.tolist() == pytest.approx([4.0, 4e-12, 4e-12])
    assert positive_metric(torch.zeros(3)).tolist() == [1.0, 1.0, 1.0]


class TestDamping:
    def test_follows_nielsens_formula(self):
        assert Damping(3.0).after_success(1.0).value == pytest.approx(1.0)
        assert Damping(3.0).after_success(0.5).value == pytest.approx(3.0)
        assert Damping(3.0).after_success(0.1).value == pytest.approx(3 * (1 + 0.8**3))
        # a gain above one says that the model is too careful, not that it is wrong
        assert Damping(3.0).after_success(7.0).value == pytest.approx(1.0)

    def test_failures_raise_it_faster_and_faster_until_a_success(self):
        damping = Damping(1.0)
        seen = []
        for _ in range(4):
            damping = damping.after_failure()
            seen.append(damping.value)
        assert seen == [2, 8, 64, 1024]
        assert damping.after_success(0.5).after_failure().value == pytest.approx(2048)

    def test_stays_within_its_limits(self):
        assert Damping(1e9).within(1e-3, 1e3).value == 1e3 and Damping(0.0).within(1e-3, 1e3).value == 1e-3

    def test_foretells_the_decrease_of_a_linear_model(self):
        residuals, jacobian = curve(12).jacobian()
        direction = torch.linspace(-0.1, 0.1, 10, dtype=torch.float64)
        for share in (1.0, 0.25):
            after = (residuals + share * jacobian @ direction).square().sum()
            slope, curvature = float(residuals @ jacobian @ direction), float((jacobian @ direction).square().sum())
            foretold = foretold_decrease(slope, curvature, share)
            assert foretold == pytest.approx(float(residuals.square().sum() - after), rel=1e-10)
