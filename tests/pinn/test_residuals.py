"""Points to residuals: the ansatz, what is remembered, and chunks that add up to one batch."""

import pytest
import torch

from pinn.fields import trace
from pinn.jets.oracle import nested_autograd
from pinn.networks import MLP
from pinn.residuals import accumulate, default_chunk, fields_at, prepare, union
from training.errors import InputError

BOUNDS = [[-1.0, 1.0], [0.0, 1.0]]


class Toy:
    """Two fields with a lift and a factor, one of each with none."""

    coordinates = ("x", "t")
    space = ("x",)
    fields = ("u", "v")

    def __init__(self):
        self.calls = 0

    def network_coordinates(self, coordinates):
        return dict(coordinates)

    def ansatz_terms(self, coordinates, parameters=None, fields=None):
        self.calls += 1
        x, t = coordinates["x"], coordinates["t"]
        height = 1.0 if parameters is None else parameters["height"]
        return {"u": (-torch.sin(torch.pi * x) * height, (1 - x * x) * t), "v": (None, None)}

    def equations(self, u, v, x):
        return {"first": u.t + u * u.x - 0.01 * u.xx + v, "second": v.t - u.x * x}


def setting(n=301, dtype=torch.float64):
    problem, network = Toy(), MLP(2, 2, width=8, depth=2, bounds=BOUNDS).to(dtype)
    layout = union(trace(problem.equations, problem.coordinates, problem.fields).values())
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(n, 2, generator=generator, dtype=torch.float64) * 2 - torch.tensor([1.0, 0.0])
    return problem, network, layout, points


def residuals(problem, network, prepared):
    fields = fields_at(network, prepared)
    return problem.equations(**fields, x=prepared.columns["x"])


def test_the_fields_are_those_of_the_ansatz():
    problem, network, layout, points = setting()

    def plain(p):
        x, t = p[:, :1], p[:, 1:]
        u, v = network(p).split(1, dim=1)
        return torch.cat([-torch.sin(torch.pi * x) + (1 - x * x) * t * u, v], dim=1)

    truth = nested_autograd(plain, layout, points)
    fields = fields_at(network, prepare(problem, network, points, layout))
    for column, name in enumerate(problem.fields):
        for part, index in enumerate(layout.multi_indices):
            found = fields[name].d(*layout.derivative(index))
            torch.testing.assert_close(found, truth.parts[part, :, column], rtol=1e-12, atol=1e-12)


def test_what_does_not_depend_on_weights_is_computed_once():
    problem, network, layout, points = setting()
    prepared = prepare(problem, network, points, layout)
    before = residuals(problem, network, prepared)
    with torch.no_grad():
        network.linears[0].weight += 0.1
    after = residuals(problem, network, prepared)
    assert problem.calls == 1
    assert not torch.equal(before["first"], after["first"])
    fresh = residuals(problem, network, prepare(problem, network, points, layout))
    assert all(torch.equal(after[name], fresh[name]) for name in fresh)


@pytest.mark.parametrize("graph_first", [True, False])
def test_a_lift_that_is_learned_is_computed_every_time_and_gets_its_gradient(graph_first):
    problem, network, layout, points = setting()
    prepared = prepare(problem, network, points, layout)
    height = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)

    def value():
        return fields_at(network, prepared, {"height": height})["u"].value

    with torch.set_grad_enabled(graph_first):
        before = value()
    with torch.no_grad():
        height += 0.5
        moved = value()
    wave = -torch.sin(torch.pi * points[:, 0])
    torch.testing.assert_close(moved - before, 0.5 * wave, rtol=1e-12, atol=1e-12)
    (gradient,) = torch.autograd.grad(value().sum(), height)
    torch.testing.assert_close(gradient, wave.sum(), rtol=1e-12, atol=1e-12)


def test_features_that_are_too_large_are_computed_anew(monkeypatch):
    monkeypatch.setattr("pinn.residuals.KEPT_BYTES", 100)
    problem, network, layout, points = setting()
    prepared = prepare(problem, network, points, layout)
    assert prepared._features is None
    found = residuals(problem, network, prepared)
    monkeypatch.undo()
    kept = residuals(problem, network, prepare(problem, network, points, layout))
    assert all(torch.equal(found[name], kept[name]) for name in kept)


def test_float32_networks_give_float32_residuals():
    problem, network, layout, points = setting(dtype=torch.float32)
    found = residuals(problem, network, prepare(problem, network, points, layout))
    exact = residuals(problem, network.double(), prepare(problem, network, points, layout))
    for name, value in found.items():
        assert value.dtype == torch.float32
        # second derivatives in 24 bits; residuals of order ten
        torch.testing.assert_close(value.double(), exact[name], rtol=0, atol=1e-4)


@pytest.mark.parametrize("chunk", [1, 7, 100, 301])
def test_chunks_add_up_to_one_batch(chunk):
    problem, network, layout, points = setting()
    parameters = list(network.parameters())

    def part(rows):
        prepared = prepare(problem, network, rows, layout)
        return lambda: sum(r.square().sum() for r in residuals(problem, network, prepared).values()) / len(points)

    found = []
    for size in (chunk, len(points)):
        for parameter in parameters:
            parameter.grad = None
        loss = accumulate([part(rows) for rows in points.split(size)], parameters)
        assert not loss.requires_grad
        found.append([loss, *(parameter.grad for parameter in parameters)])
    for value, truth in zip(*found, strict=True):
        # sums of 301 numbers in another order
        torch.testing.assert_close(value, truth, rtol=1e-12, atol=1e-13)


def test_memory_is_bounded_by_the_chunk():
    small = default_chunk(MLP(2, 1, width=20, depth=3), trace(lambda u: {"r": u.xx + u.t}, "xt", ("u",))["u"])
    wide = default_chunk(MLP(2, 1, width=128, depth=5), trace(lambda u: {"r": u.xx + u.t}, "xt", ("u",))["u"])
    assert 256 <= wide < small


def test_points_of_another_problem_are_refused():
    problem, network, layout, _ = setting()
    with pytest.raises(InputError, match="no column for each of x, t"):
        prepare(problem, network, torch.zeros(4, 3), layout)
