"""L-BFGS goes on where torch's default tolerances stop, says when it ends, and resumes exactly."""

import io

import pytest
import torch

from training.optimizers import LBFGS


def valley(scale=1.0):
    x = torch.nn.Parameter(torch.tensor([-1.2, 1.0] * 3, dtype=torch.float64))
    optimizer = LBFGS([x], max_iter=5)

    def closure():
        optimizer.zero_grad()
        loss = scale * (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()
        loss.backward()
        return loss

    return x, optimizer, closure


@pytest.mark.parametrize("scale", [1.0, 1e-10])
def test_a_small_loss_is_no_reason_to_stop(scale):
    x, optimizer, closure = valley(scale)
    for _ in range(100):
        optimizer.step(closure)
    assert (x.detach() - 1).abs().max() < 1e-6


def test_says_when_the_weights_no_longer_move_and_goes_on_with_another_objective():
    x, optimizer, closure = valley()
    for _ in range(200):
        optimizer.step(closure)
        if optimizer.stopped:
            break
    assert "no longer move" in optimizer.stopped and (x.detach() - 1).abs().max() < 1e-8
    optimizer.objective_changed()
    assert optimizer.stopped == ""
    with torch.no_grad():
        x.add_(0.1)
    first = float(optimizer.step(closure))
    assert float(closure()) < 0.1 * first


def test_leaves_the_gradient_of_the_loss_behind():
    x, optimizer, closure = valley(1e-10)
    optimizer.step(closure)
    after = x.grad.clone()
    closure()
    # the last trial of the line search need not be the accepted one, but its gradient has the same magnitude
    assert 0.1 < float(after.norm() / x.grad.norm()) < 10


@pytest.mark.parametrize("stop", [1, 4])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(stop):
    x, optimizer, closure = valley()
    for _ in range(stop):
        optimizer.step(closure)
    file = io.BytesIO()
    torch.save([x.detach(), optimizer.state_dict()], file)
    expected = [float(optimizer.step(closure)) for _ in range(6)]
    file.seek(0)
    weights, state = torch.load(file, weights_only=True)
    x, optimizer, closure = valley()
    with torch.no_grad():
        x.copy_(weights)
    optimizer.load_state_dict(state)
    assert [float(optimizer.step(closure)) for _ in range(6)] == expected
