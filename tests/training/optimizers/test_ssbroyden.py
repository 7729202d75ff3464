"""SSBroyden reaches known minima, counts its evaluations, resumes exactly and refuses what it cannot do."""

import io
import logging
import math

import pytest
import torch
from scipy.optimize import minimize, rosen, rosen_der

from training.errors import ConfigurationError
from training.optimizers import SSBroyden
from training.optimizers.flat import NotFinite
from training.optimizers.inverse_hessian import UPDATES


def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def leaf(values):
    return torch.nn.Parameter(torch.tensor(values, dtype=torch.float64))


def minimiser(parameters, loss, **arguments):
    """The optimizer and its closure."""
    optimizer = SSBroyden(parameters, **arguments)

    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    return optimizer, closure


def steps_until(optimizer, closure, done, limit):
    for step in range(limit):
        if done():
            return step
        optimizer.step(closure)
    raise AssertionError(f"not done in {limit} steps: {optimizer.last_search} {optimizer.stopped}")


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("size", [2, 10])
def test_reaches_the_minimum_of_rosenbrock_with_about_as_many_gradients_as_scipy(update, size):
    start = [-1.2, 1.0] * (size // 2)
    # scipy's run from the same start ends at the other local minimum in ten dimensions, after as many gradients
    reference = minimize(rosen, start, jac=rosen_der, method="BFGS", options={"gtol": 1e-5})
    x = leaf(start)
    optimizer, closure = minimiser([x], lambda: rosenbrock(x), update=update)
    optimizer.step(closure)
    steps_until(optimizer, closure, lambda: x.grad.abs().max() < 1e-5 or bool(optimizer.stopped), 400)
    assert optimizer.evaluations <= 1.5 * reference.njev
    # ten steps of superlinear convergence later nothing is left
    for _ in range(25):
        optimizer.step(closure)
    torch.testing.assert_close(x.detach(), torch.ones(size, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("update", UPDATES)
def test_a_quadratic_is_solved_in_as_many_steps_as_it_has_dimensions(update):
    """With an exact line search the whole Broyden family makes conjugate steps, self-scaled or not."""
    curvatures = torch.logspace(0, 2, 8, dtype=torch.float64)
    x = leaf([1.0] * 8)
    optimizer, closure = minimiser(
        [x], lambda: 0.5 * (curvatures * x * x).sum(), update=update, c1=1e-12, c2=1e-10, noise=0.0
    )
    losses = [float(optimizer.step(closure)) for _ in range(8)]
    # from a loss of 100, what is left is rounding of its differences
    assert losses[6] > 1e-3 and losses[7] < 1e-12


@pytest.mark.parametrize("update", UPDATES)
def test_an_ill_conditioned_quadratic_ends_where_its_gradient_is_nothing(update):
    curvatures = torch.logspace(-3, 3, 20, dtype=torch.float64)
    x = leaf([1.0] * 20)
    optimizer, closure = minimiser([x], lambda: 0.5 * (curvatures * x * x).sum(), update=update)
    steps_until(optimizer, closure, lambda: bool((curvatures * x).abs().max() < 1e-8), 300)


@pytest.mark.parametrize("update", UPDATES)
def test_ends_at_rounding_level_with_a_reason_and_the_best_weights(update):
    """The minimum 1 hides everything below 1e-16 of it."""
    x = leaf([3.0, -2.0, 1.0])
    scales = torch.tensor([1.0, 30.0, 1000.0], dtype=torch.float64)
    optimizer, closure = minimiser([x], lambda: 1 + (scales * x * x).sum() + (x[0] - x[1]).pow(4), update=update)
    for _ in range(200):
        loss = optimizer.step(closure)
        if optimizer.stopped:
            break
    assert optimizer.stopped and x.detach().abs().max() < 1e-7
    evaluations, weights = optimizer.evaluations, x.detach().clone()
    assert optimizer.step(closure) == loss == 1.0 and optimizer.evaluations == evaluations
    assert torch.equal(x.detach(), weights)


def test_several_tensors_of_any_shape_are_one_vector_and_frozen_ones_stay():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1)).double()
    network[0].bias.requires_grad_(False)
    frozen = network[0].bias.detach().clone()
    unused = leaf([5.0])
    inputs = torch.randn(40, 2, dtype=torch.float64)
    optimizer, closure = minimiser(
        [*network.parameters(), unused], lambda: (network(inputs) - inputs.prod(1, keepdim=True)).square().mean()
    )
    first = float(optimizer.step(closure))
    assert optimizer.size == 6 + 3 + 1 + 1
    for _ in range(60):
        last = float(optimizer.step(closure))
    assert last < 0.3 * first
    assert torch.equal(network[0].bias, frozen) and float(unused.detach()) == 5.0


def test_an_accepted_first_trial_costs_one_evaluation():
    x = leaf([1.0, 2.0])
    optimizer, closure = minimiser([x], lambda: (x * x * x * x + x * x).sum())
    for step in range(8):
        optimizer.step(closure)
        assert optimizer.evaluations <= 2 * (step + 1) + 2


def test_a_changed_objective_is_evaluated_anew_and_keeps_the_curvature():
    x = leaf([4.0, -3.0])
    centre = torch.tensor([1.0, 1.0], dtype=torch.float64)
    scales = torch.tensor([1.0, 100.0], dtype=torch.float64)
    optimizer, closure = minimiser([x], lambda: (scales * (x - centre) ** 2).sum())
    steps_until(optimizer, closure, lambda: bool(optimizer.stopped), 60)
    curvature = optimizer.memory["inverse_hessian"].clone()
    torch.testing.assert_close(curvature, torch.diag(0.5 / scales), rtol=1e-3, atol=1e-5)
    centre.add_(torch.tensor([2.0, -1.0], dtype=torch.float64))
    optimizer.objective_changed()
    assert optimizer.stopped == ""
    # the old matrix fits the new objective: one Newton step
    assert float(optimizer.step(closure)) < 1e-5


def test_an_objective_may_change_before_the_first_step():
    x = leaf([4.0, -3.0])
    optimizer, closure = minimiser([x], lambda: (x * x).sum())
    optimizer.objective_changed()
    assert float(optimizer.step(closure)) < 25


def test_weights_changed_from_outside_are_noticed():
    x = leaf([4.0, -3.0])
    optimizer, closure = minimiser([x], lambda: (x * x).sum())
    optimizer.step(closure)
    with torch.no_grad():
        x.fill_(7.0)
    assert float(optimizer.step(closure)) < 2 * 49.0
    assert optimizer.memory["weights"].abs().max() < 7


def test_a_matrix_that_lost_its_positivity_is_replaced_and_said_once(caplog):
    x = leaf([4.0, -3.0])
    optimizer, closure = minimiser([x], lambda: (x**4).sum())
    for _ in range(3):
        optimizer.step(closure)
    with caplog.at_level(logging.WARNING, "training.optimizers"):
        for _ in range(2):
            optimizer.memory["inverse_hessian"].fill_diagonal_(-1.0)
            optimizer.objective_changed()
            optimizer.step(closure)
    assert [record.getMessage() for record in caplog.records] == [
        "SSBroyden starts its matrix anew from the identity: it has no Cholesky factor."
    ]
    steps_until(optimizer, closure, lambda: bool(x.detach().abs().max() < 1e-3), 60)


def test_a_loss_that_is_not_finite_on_the_way_shortens_the_step():
    x = leaf([0.5])
    optimizer, closure = minimiser([x], lambda: (x - 3 * torch.log(x)).sum(), lr=100.0)
    for _ in range(15):
        optimizer.step(closure)
    assert float(x.detach()) == pytest.approx(3, abs=1e-7)


def test_a_loss_that_is_not_finite_at_the_start_is_named_and_moves_nothing():
    x = leaf([-1.0])
    optimizer, closure = minimiser([x], lambda: torch.log(x).sum())
    with pytest.raises(NotFinite, match=r"loss \(nan\).*Adam"):
        optimizer.step(closure)
    assert float(x.detach()) == -1.0


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("stop", [1, 7, 30])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(update, stop):
    def begin(start):
        x, y = leaf(start[:6]), leaf(start[6:])
        optimizer, closure = minimiser([x, y], lambda: rosenbrock(torch.cat([x, y])), update=update)
        return (x, y), optimizer, closure

    (x, y), optimizer, closure = begin([-1.2, 1.0] * 5)
    for _ in range(stop):
        optimizer.step(closure)
    file = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), "x": x.detach(), "y": y.detach()}, file)
    losses = [float(optimizer.step(closure)) for _ in range(20)]
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    (x2, y2), second, closure2 = begin([*saved["x"].tolist(), *saved["y"].tolist()])
    second.load_state_dict(saved["optimizer"])
    assert [float(second.step(closure2)) for _ in range(20)] == losses
    assert torch.equal(x, x2) and torch.equal(y, y2) and second.evaluations == optimizer.evaluations
    assert torch.equal(optimizer.memory["inverse_hessian"], second.memory["inverse_hessian"])


def test_a_loaded_state_is_a_copy():
    x = leaf([4.0, -3.0])
    optimizer, closure = minimiser([x], lambda: (x**4).sum())
    optimizer.step(closure)
    state = optimizer.state_dict()
    other, _ = minimiser([x], lambda: (x**4).sum())
    other.load_state_dict(state)
    assert other.memory["inverse_hessian"].data_ptr() != optimizer.memory["inverse_hessian"].data_ptr()


def test_a_state_of_another_network_is_refused():
    optimizer, closure = minimiser([x := leaf([4.0, -3.0])], lambda: (x**4).sum())
    optimizer.step(closure)
    other, _ = minimiser([leaf([1.0, 2.0, 3.0])], lambda: None)
    with pytest.raises(ConfigurationError, match="belongs to 2 weights, this network has 3"):
        other.load_state_dict(optimizer.state_dict())


class TestRefusals:
    def test_single_precision_needs_a_flag_and_then_works(self):
        x = torch.nn.Parameter(torch.tensor([3.0, -1.0]))
        with pytest.raises(ConfigurationError, match=r"float64.*64-true.*single_precision"):
            SSBroyden([x])
        optimizer, closure = minimiser([x], lambda: ((x - 1) ** 2 + (x - 1) ** 4).sum(), single_precision=True)
        for _ in range(20):
            optimizer.step(closure)
        assert (x.detach() - 1).abs().max() < 1e-3

    def test_too_large_a_matrix_is_counted_before_it_is_made(self):
        x = torch.nn.Parameter(torch.zeros(30_000, dtype=torch.float64))
        with pytest.raises(ConfigurationError, match=r"30000 weights need 7\.2 GB.*max_gigabytes=4"):
            SSBroyden([x])

    def test_groups_are_refused(self):
        with pytest.raises(ConfigurationError, match="2 groups"):
            SSBroyden([{"params": [leaf([1.0])]}, {"params": [leaf([1.0])]}])

    def test_mixed_types_are_named(self):
        with pytest.raises(ConfigurationError, match=r"torch\.float32 on cpu, torch\.float64 on cpu"):
            SSBroyden([leaf([1.0]), torch.nn.Parameter(torch.zeros(2))])

    def test_nothing_to_train_is_named(self):
        with pytest.raises(ConfigurationError, match="requires a gradient"):
            SSBroyden([leaf([1.0]).requires_grad_(False)])

    def test_a_parameter_frozen_later_is_noticed(self):
        x, y = leaf([1.0]), leaf([1.0])
        optimizer, closure = minimiser([x, y], lambda: (x**2 + y**2).sum())
        y.requires_grad_(False)
        with pytest.raises(ConfigurationError, match="build a new one"):
            optimizer.step(closure)

    @pytest.mark.parametrize(
        "wrong", [{"update": "dfp"}, {"lr": 0.0}, {"c1": 0.95}, {"iterations": 0}, {"noise": -1.0}], ids=str
    )
    def test_wrong_arguments_are_named(self, wrong):
        with pytest.raises(ConfigurationError, match=f"SSBroyden.*{next(iter(wrong))}"):
            SSBroyden([leaf([1.0])], **wrong)


def test_several_iterations_in_one_step_are_the_same_iterations():
    def run(iterations, steps):
        x = leaf([-1.2, 1.0, -1.2])
        optimizer, closure = minimiser([x], lambda: rosenbrock(x), iterations=iterations)
        for _ in range(steps):
            optimizer.step(closure)
        return x.detach()

    assert torch.equal(run(1, 12), run(4, 3))


def test_a_gradient_of_zero_ends_it():
    x = leaf([0.0, 0.0])
    optimizer, closure = minimiser([x], lambda: (x * x).sum())
    optimizer.step(closure)
    assert optimizer.stopped == "the gradient is zero" and not math.isnan(float(x.detach().sum()))
