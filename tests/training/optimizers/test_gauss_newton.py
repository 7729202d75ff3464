"""Gauss-Newton finds what scipy finds, in every form, resumes exactly and ends with a reason."""

import io
import math

import pytest
import torch
from scipy.optimize import least_squares

from training.errors import ConfigurationError
from training.optimizers import FunctionResiduals, GaussNewton
from training.optimizers.flat import NotFinite

TIMES = torch.linspace(0, 4, 40, dtype=torch.float64)
NOISE = 0.01 * torch.sin(37 * TIMES)


def decay(values):
    """Two exponentials with a wave, five parameters in two tensors."""
    rates, rest = values
    return rest[0] * torch.exp(-rates[0] * TIMES) + rest[1] * torch.exp(-rates[1] * TIMES) * torch.cos(rest[2] * TIMES)


DATA = decay([torch.tensor([0.5, 1.3]).double(), torch.tensor([2.0, 1.0, 5.0]).double()]) + NOISE


def fit(**arguments):
    rates = torch.nn.Parameter(torch.tensor([1.0, 1.0], dtype=torch.float64))
    rest = torch.nn.Parameter(torch.tensor([1.0, 0.5, 4.5], dtype=torch.float64))
    problem = FunctionResiduals(lambda values: decay(values) - DATA, [rates, rest])
    return GaussNewton([rates, rest], **arguments), problem


def weights(optimizer):
    return optimizer.weights().clone()


def run(optimizer, problem, steps):
    for _ in range(steps):
        optimizer.step(problem)
        if optimizer.stopped:
            break
    return weights(optimizer)


def by_scipy():
    def residuals(x):
        x = torch.tensor(x, dtype=torch.float64)
        return (decay([x[:2], x[2:]]) - DATA).numpy()

    return least_squares(residuals, [1.0, 1.0, 1.0, 0.5, 4.5], method="lm", xtol=1e-15, ftol=1e-15, gtol=1e-15)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"geodesic": False},
        {"solver": "kernel"},
        {"solver": "matrix_free", "cg_tolerance": 1e-8},
        {"metric": "marquardt"},
        {"metric": "marquardt", "solver": "kernel", "geodesic": True},
        {"halvings": 6},
        {"geodesic": True, "halvings": 3},
        {"lr": 0.7},
    ],
    ids=str,
)
def test_finds_the_same_parameters_as_scipy(arguments):
    optimizer, problem = fit(**arguments)
    reference = by_scipy()
    found = run(optimizer, problem, 200)
    # at the minimum the loss is flat to 1e-16, so the parameters are known to its root times their condition
    torch.testing.assert_close(found, torch.tensor(reference.x, dtype=torch.float64), rtol=1e-6, atol=1e-6)
    assert float(problem.loss()) == pytest.approx(2 * reference.cost, rel=1e-12)


def test_the_loss_never_rises_and_is_that_of_the_weights():
    optimizer, problem = fit()
    before = float(problem.loss())
    for _ in range(15):
        loss = float(optimizer.step(problem))
        assert loss <= before and loss == pytest.approx(float(problem.loss()), rel=1e-15)
        before = loss


def test_a_linear_problem_is_solved_in_one_step_with_gain_one():
    torch.manual_seed(0)
    matrix, right = torch.randn(30, 6, dtype=torch.float64), torch.randn(30, dtype=torch.float64)
    x = torch.nn.Parameter(torch.zeros(6, dtype=torch.float64))
    optimizer = GaussNewton([x], damping=1e-14)
    optimizer.step(FunctionResiduals(lambda values: matrix @ values[0] - right, [x]))
    torch.testing.assert_close(x.detach(), torch.linalg.lstsq(matrix, right).solution, rtol=1e-10, atol=1e-12)
    assert optimizer.gain == pytest.approx(1.0, rel=1e-9)


def test_all_forms_make_the_same_steps():
    runs = []
    for arguments in ({"solver": "dense"}, {"solver": "kernel"}, {"solver": "matrix_free", "cg_tolerance": 1e-14}):
        optimizer, problem = fit(**arguments)
        optimizer.memory.update(damping=0.05, growth=2.0, steps=0, stopped="")
        runs.append(run(optimizer, problem, 5))
    torch.testing.assert_close(runs[1], runs[0], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(runs[2], runs[0], rtol=1e-8, atol=1e-8)


class TestChoiceOfForm:
    @pytest.mark.parametrize(
        "n_residuals, expected", [(3, "jacobian"), (5, "normal_equations"), (40, "normal_equations")]
    )
    def test_auto_takes_the_smaller_matrix(self, n_residuals, expected):
        optimizer, _ = fit(geodesic=False)
        calls = []

        class Watched(FunctionResiduals):
            def jacobian(self):
                calls.append("jacobian")
                return super().jacobian()

            def normal_equations(self):
                calls.append("normal_equations")
                return super().normal_equations()

        pick = slice(0, n_residuals)
        problem = Watched(lambda values: (decay(values) - DATA)[pick], optimizer.param_groups[0]["params"])
        optimizer.step(problem)
        assert calls[0] == expected

    def test_a_matrix_that_is_too_large_is_counted_before_it_is_made(self):
        optimizer, problem = fit(max_gigabytes=1e-7, solver="dense")
        with pytest.raises(ConfigurationError, match=r"5 weights and 40 residuals needs 6e-07 GB.*matrix_free"):
            optimizer.step(problem)


def test_geodesic_acceleration_takes_fewer_steps_through_a_bent_valley():
    """Rosenbrock's valley as residuals: its floor is the parabola that the correction follows."""

    def steps(geodesic):
        x = torch.nn.Parameter(torch.tensor([-1.2, 1.0], dtype=torch.float64))
        problem = FunctionResiduals(lambda v: torch.stack([100 * (v[0][1] - v[0][0] ** 2), 1 - v[0][0]]), [x])
        optimizer = GaussNewton([x], geodesic=geodesic)
        for step in range(300):
            if float(optimizer.step(problem)) < 1e-20:
                return step
        raise AssertionError("no minimum")

    assert steps(True) <= 0.6 * steps(False)


class TestCurvatureMemory:
    """Two equations for six weights at a time, as points that are drawn anew for every step."""

    def batches(self, noise):
        torch.manual_seed(3)
        truth = torch.randn(6, dtype=torch.float64)
        matrices = torch.randn(7, 2, 6, dtype=torch.float64)
        rights = matrices @ truth + noise * torch.randn(7, 2, dtype=torch.float64)
        return truth, list(zip(matrices, rights, strict=True))

    def run(self, batches, memory):
        x = torch.nn.Parameter(torch.zeros(6, dtype=torch.float64))
        optimizer = GaussNewton([x], damping=1e-9, geodesic=False, solver="dense", curvature_memory=memory)
        for matrix, right in batches:
            optimizer.memory.update(damping=1e-9, growth=2.0, steps=0, stopped="")
            optimizer.step(FunctionResiduals(lambda v, a=matrix, b=right: a @ v[0] - b, [x]))
        return x.detach()

    @pytest.mark.parametrize("memory", [0.5, 0.9])
    def test_is_recursive_least_squares_with_that_forgetting_factor(self, memory):
        _, batches = self.batches(noise=0.1)
        weights = [memory ** (0.5 * age) for age in reversed(range(len(batches)))]
        matrix = torch.cat([w * a for w, (a, _) in zip(weights, batches, strict=True)])
        right = torch.cat([w * b for w, (_, b) in zip(weights, batches, strict=True)])
        expected = torch.linalg.lstsq(matrix, right).solution
        torch.testing.assert_close(self.run(batches, memory), expected, rtol=1e-5, atol=1e-6)

    def test_earlier_points_stay_solved_where_each_step_alone_forgets_them(self):
        truth, batches = self.batches(noise=0.0)
        remembering, forgetting = (float((self.run(batches, c) - truth).norm()) for c in (0.9, 0.0))
        assert remembering < 1e-5 * float(truth.norm()) < 1e-3 * forgetting

    def test_few_residuals_are_no_reason_for_the_kernel(self):
        x = torch.nn.Parameter(torch.zeros(6, dtype=torch.float64))
        optimizer = GaussNewton([x], curvature_memory=0.5)
        matrix, right = self.batches(noise=0.1)[1][0]
        optimizer.step(FunctionResiduals(lambda v: matrix @ v[0] - right, [x]))
        torch.testing.assert_close(optimizer.memory["curvature"], 0.5 * matrix.T @ matrix)

    def test_its_matrices_are_counted(self):
        optimizer, problem = fit(max_gigabytes=8e-7, curvature_memory=0.5)
        with pytest.raises(ConfigurationError, match=r"needs 1e-06 GB"):
            optimizer.step(problem)


def test_rejected_steps_restore_the_weights_and_raise_the_damping():
    optimizer, problem = fit(attempts=1, damping=1e-3, geodesic=False)
    before, loss = weights(optimizer), float(problem.loss())

    class Lying(FunctionResiduals):
        """Its loss rises wherever the weights go."""

        def loss(self):
            return super().loss() + 1

    lying = Lying(problem.function, problem.parameters)
    assert float(optimizer.step(lying)) == pytest.approx(loss, rel=1e-14)
    assert torch.equal(weights(optimizer), before)
    assert "none of 1 dampings" in optimizer.stopped
    damping = optimizer.current_damping
    optimizer.step(lying)
    assert optimizer.current_damping == damping, "a stopped optimizer stands still"
    optimizer.objective_changed()
    assert optimizer.stopped == ""
    optimizer.step(lying)
    assert optimizer.current_damping > damping


def test_a_perfect_fit_ends_with_a_reason():
    x = torch.nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))
    optimizer = GaussNewton([x])
    problem = FunctionResiduals(lambda v: v[0] ** 2 - torch.tensor([4.0, 9.0]).double(), [x])
    assert run(optimizer, problem, 50).tolist() == pytest.approx([2, 3], rel=1e-15)
    assert optimizer.stopped


def test_residuals_that_are_not_finite_at_the_start_are_named_and_on_the_way_refused():
    x = torch.nn.Parameter(torch.tensor([-1.0], dtype=torch.float64))
    problem = FunctionResiduals(lambda v: torch.log(v[0]), [x])
    with pytest.raises(NotFinite, match=r"loss \(nan\).*Adam"):
        GaussNewton([x]).step(problem)
    with torch.no_grad():
        x.fill_(4.0)
    optimizer = GaussNewton([x], damping=1e-12)
    # the whole step from 4 leads to 4 − 4 log 4 < 0, where there is no logarithm
    assert run(optimizer, problem, 60).item() == pytest.approx(1.0, rel=1e-12)


def test_a_function_that_returns_the_problem_is_accepted():
    optimizer, problem = fit()
    other, same = fit()
    optimizer.step(problem)
    other.step(closure=lambda: same)
    assert torch.equal(weights(optimizer), weights(other))


@pytest.mark.parametrize(
    "arguments",
    [{}, {"metric": "marquardt"}, {"solver": "matrix_free"}, {"halvings": 4}, {"curvature_memory": 0.8}],
    ids=str,
)
@pytest.mark.parametrize("stop", [1, 6])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(arguments, stop):
    optimizer, problem = fit(**arguments)
    run(optimizer, problem, stop)
    file = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), "weights": weights(optimizer)}, file)
    losses = [float(optimizer.step(problem)) for _ in range(6)]
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    second, again = fit(**arguments)
    second.set_weights(saved["weights"])
    second.load_state_dict(saved["optimizer"])
    assert [float(second.step(again)) for _ in range(6)] == losses
    assert torch.equal(weights(second), weights(optimizer))
    assert second.current_damping == optimizer.current_damping


def test_frozen_parameters_stay_and_a_wrong_count_of_derivatives_is_named():
    optimizer, problem = fit()
    rates, rest = optimizer.param_groups[0]["params"]
    rates.requires_grad_(False)
    kept = rates.detach().clone()
    partial = GaussNewton([rates, rest])
    with pytest.raises(ConfigurationError, match="derivatives for 5 weights, the optimizer moves 3"):
        partial.step(problem)
    only = FunctionResiduals(lambda values: decay([kept, values[0]]) - DATA, [rest])
    assert float(partial.step(only)) < float(problem.loss()) + 1e-12 and torch.equal(rates.detach(), kept)


@pytest.mark.parametrize(
    "wrong",
    [
        {"solver": "qr"},
        {"metric": "fisher"},
        {"damping": 0.0},
        {"lowest_damping": 1.0},
        {"attempts": 0},
        {"cg_tolerance": 1.0},
        {"curvature_memory": 1.0},
        {"curvature_memory": 0.5, "solver": "kernel"},
        {"metric": "marquardt", "solver": "matrix_free"},
        {"lr": -1.0},
    ],
    ids=str,
)
def test_wrong_arguments_are_named(wrong):
    with pytest.raises(ConfigurationError, match=f"GaussNewton.*{next(iter(wrong))}"):
        fit(**wrong)


def test_before_the_first_step_there_is_no_damping_to_tell():
    optimizer, _ = fit()
    assert math.isnan(optimizer.current_damping) and math.isnan(optimizer.gain)
