"""SOAP: double precision throughout, and a resume that continues exactly."""

import io

import pytest
import torch

from training.optimizers import SOAP


def task(seed=0):
    torch.manual_seed(seed)
    network = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)).double()
    inputs = torch.randn(50, 2, dtype=torch.float64)
    optimizer = SOAP(network.parameters(), lr=1e-2, weight_decay=0.0, precondition_frequency=3)

    def step():
        optimizer.zero_grad()
        loss = (network(inputs) - inputs.prod(1, keepdim=True)).square().mean()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return network, optimizer, step


def tensors(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from tensors(inner)


def test_lowers_the_loss_and_keeps_its_eigenbases_in_the_parameters_precision():
    _, optimizer, step = task()
    losses = [step() for _ in range(200)]
    assert losses[-1] < 0.05 * losses[0]
    state = optimizer.state_dict()["state"]
    assert {t.dtype for t in tensors(state) if t.is_floating_point()} == {torch.float64}
    bases = [t for t in tensors([entry["Q"] for entry in state.values()]) if t.ndim == 2 and len(t) > 1]
    assert bases
    for basis in bases:
        # orthogonal to double precision: a QR in single precision would leave 1e-7
        residue = basis.T @ basis - torch.eye(len(basis), dtype=torch.float64)
        assert residue.abs().max() < 1e-13


@pytest.mark.parametrize("stop", [1, 2, 7])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(stop):
    network, optimizer, step = task()
    for _ in range(stop):
        step()
    file = io.BytesIO()
    torch.save({"network": network.state_dict(), "optimizer": optimizer.state_dict()}, file)
    expected = [step() for _ in range(10)]
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    network, optimizer, step = task()
    network.load_state_dict(saved["network"])
    optimizer.load_state_dict(saved["optimizer"])
    assert [step() for _ in range(10)] == expected
