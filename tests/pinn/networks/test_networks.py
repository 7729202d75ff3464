"""Every network and layout: jets equal nested autograd, in values and in gradients of a physics loss."""

import copy
import json
import math

import pytest
import torch
from jet_layouts import LAYOUTS

from pinn.jets.jet import Jet
from pinn.jets.kernels import use_kernels
from pinn.jets.layout import JetLayout
from pinn.jets.oracle import nested_autograd
from pinn.networks import MLP, ModifiedMLP, PirateNet, build
from training.errors import ConfigurationError, InputError

BOUNDS = [[-1.0, 1.0], [0.0, 2.0]]
NETWORKS = {
    "mlp": lambda: MLP(2, 1, width=9, depth=3, bounds=BOUNDS),
    "mlp of two fields": lambda: MLP(2, 2, width=8, depth=2, activation="gelu"),
    "silu": lambda: MLP(2, 1, width=8, depth=2, activation="silu", bounds=BOUNDS),
    "one layer": lambda: MLP(2, 1, width=8, depth=1, activation="sin"),
    "random waves": lambda: MLP(2, 1, width=8, depth=1, activation="sin", frequencies=[2.0, 1.0], bounds=BOUNDS),
    "periodic": lambda: MLP(2, 1, width=8, depth=2, periods={0: 2.0}, harmonics=2, bounds=BOUNDS),
    "fourier": lambda: MLP(2, 1, width=8, depth=2, fourier=5, fourier_scale=1.5, bounds=BOUNDS),
    "periodic fourier": lambda: MLP(2, 1, width=8, depth=1, fourier=4, periods={0: 2.0}, bounds=BOUNDS),
    "modified": lambda: ModifiedMLP(2, 2, width=8, depth=2, bounds=BOUNDS),
    "pirate": lambda: PirateNet(2, 1, width=8, depth=2, bounds=BOUNDS),
}


def points(n: int = 23) -> torch.Tensor:
    unit = torch.rand(n, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return unit * 2 - torch.tensor([1.0, 0.0], dtype=torch.float64)


def moved(network):
    """Away from the start, where biases and the residual weights are zero."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return network


def physics_loss(jet: Jet) -> torch.Tensor:
    """A nonlinear residual of all parts, so that every path through the network counts."""
    scale = jet.parts.detach().abs().amax(dim=(1, 2), keepdim=True)
    residual = (jet.parts / scale).sum(dim=0) + jet.parts[0] * jet.parts[-1] / scale[-1]
    return residual.square().mean()


@pytest.fixture(params=NETWORKS.values(), ids=NETWORKS.keys())
def network(request):
    return moved(request.param())


@pytest.mark.parametrize("kernels", ["numba", "reference"])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
class TestEqualsNestedAutograd:
    def test_all_derivatives(self, network, layout, kernels):
        with use_kernels(kernels):
            found = network.jet(Jet.of_points(layout, points())).parts
        truth = nested_autograd(network, layout, points()).parts
        for name, value, expected in zip(layout.names, found, truth, strict=True):
            # the bar of the reference: 1e-12 in float64, relative to the largest value of the derivative
            assert (value - expected).abs().max() <= 1e-12 * expected.abs().max().clamp(min=1.0), name

    def test_gradients_of_a_physics_loss(self, network, layout, kernels):
        parameters = dict(network.named_parameters())
        with use_kernels(kernels):
            found = gradients(network.jet(Jet.of_points(layout, points())), parameters)
        truth = gradients(nested_autograd(network, layout, points()), parameters)
        for name, value, expected in zip(parameters, found, truth, strict=True):
            # second differentiation of up to fourth derivatives; gradients are of order one
            assert (value - expected).abs().max() <= 1e-11 * expected.abs().max().clamp(min=1.0), name


def gradients(jet: Jet, parameters: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad(physics_loss(jet), list(parameters.values()), materialize_grads=True)


class TestPhysicsTrains:
    @pytest.mark.parametrize("derivative", ["x", "xx", "xxx"])
    def test_a_derivative_alone_moves_every_weight(self, network, derivative):
        layout = JetLayout("xt", [derivative])
        jet = network.jet(Jet.of_points(layout, points()))
        loss = jet[tuple(derivative)].square().mean()
        found = torch.autograd.grad(loss, list(network.parameters()), materialize_grads=True)
        for (name, parameter), gradient in zip(network.named_parameters(), found, strict=True):
            if parameter is list(network.parameters())[-1]:
                # a constant added to the output has no derivative
                assert gradient.abs().max() == 0.0
            else:
                assert gradient.abs().max() > 1e-10, name
                # not one row of a matrix is left behind either
                assert (gradient.reshape(len(gradient) if gradient.ndim else 1, -1).abs().amax(dim=1) > 0).all(), name


class TestStart:
    def test_weights_follow_from_the_seed_and_are_float64(self):
        one, same, other = (MLP(2, 1, seed=seed) for seed in (3, 3, 4))
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
        assert not torch.equal(one.linears[0].weight, other.linears[0].weight)
        assert {parameter.dtype for parameter in one.parameters()} == {torch.float64}

    def test_weights_are_glorots(self):
        weight = MLP(2, 1, width=200, depth=2).linears[1].weight
        bound = (6 / 400) ** 0.5
        assert weight.abs().max() <= bound
        # variance of a uniform distribution; 40,000 numbers leave 0.5 % of noise
        assert weight.var().item() == pytest.approx(bound**2 / 3, rel=0.03)

    def test_a_piratenet_starts_as_a_linear_map_of_its_features(self):
        network = PirateNet(2, 1, width=8, depth=3)
        torch.testing.assert_close(network(points()), network.last(network.features(points())), rtol=0, atol=0)

    def test_the_domain_is_normalised(self):
        corners = torch.tensor([[-1.0, 0.0], [1.0, 2.0]], dtype=torch.float64)
        features = MLP(2, 1, bounds=BOUNDS).features(corners)
        assert features.tolist() == [[-1.0, -1.0], [1.0, 1.0]]


class TestPeriodic:
    def test_all_derivatives_agree_at_the_ends(self):
        network = moved(MLP(2, 1, width=8, depth=2, periods={0: 2.0}, harmonics=3, bounds=BOUNDS))
        ends = torch.tensor([[-1.0, 0.3], [1.0, 0.3]], dtype=torch.float64)
        parts = network.jet(Jet.of_points(LAYOUTS["mixed fourth"], ends)).parts
        scale = parts.abs().amax(dim=(1, 2))
        # sin(π) is not zero in floating point; wave numbers to the fourth are 9 π to the fourth
        assert ((parts[:, 0] - parts[:, 1]).abs().amax(dim=1) <= 1e-12 * scale).all()


@pytest.mark.parametrize("build_one", NETWORKS.values(), ids=NETWORKS.keys())
class TestArchitecture:
    def test_is_json_and_builds_the_same_network(self, build_one):
        network = moved(build_one())
        twin = build(json.loads(json.dumps(network.architecture())))
        twin.load_state_dict(network.state_dict())
        assert torch.equal(twin(points()), network(points()))

    def test_a_copy_is_independent_and_equal(self, build_one):
        network = build_one()
        twin = copy.deepcopy(network)
        assert torch.equal(twin(points()), network(points()))
        moved(twin)
        assert not torch.equal(twin(points()), network(points()))


class TestPrecision:
    def test_float32_stays_float32_and_is_close(self, network):
        layout = LAYOUTS["burgers"]
        exact = network.jet(Jet.of_points(layout, points())).parts
        single = network.float().jet(Jet.of_points(layout, points().float())).parts
        assert single.dtype == torch.float32
        # 24 bits, through a few layers
        assert (single - exact).abs().max() <= 1e-4 * exact.abs().max()

    @pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
    def test_autocast_rounds_the_products_alone(self, network, precision):
        layout = LAYOUTS["burgers"]
        network = network.float()
        full = network.jet(Jet.of_points(layout, points().float())).parts
        with torch.autocast("cpu", dtype=precision):
            jet = network.jet(Jet.of_points(layout, points().float()))
            assert jet.parts.dtype == torch.float32
            jet.parts.square().sum().backward()
        assert {p.grad.dtype for p in network.parameters()} == {torch.float32}
        # 8 bits of bfloat16, second derivatives amplify
        difference = (jet.parts - full).abs().max() / full.abs().max()
        assert 1e-7 < difference < 0.1


def test_random_waves_have_the_frequencies_asked_for():
    first = MLP(2, 1, width=4000, depth=1, activation="sin", frequencies=[3.0, 20.0]).linears[0]
    # a standard deviation of 4,000 draws is known to 1.1 %
    assert first.weight.detach().std(dim=0).tolist() == pytest.approx([3.0, 20.0], rel=0.05)
    # phases uniform in ±π
    assert 3.1 < first.bias.abs().max() <= math.pi and first.bias.std().item() == pytest.approx(
        math.pi / 3**0.5, rel=0.05
    )
    again = build(MLP(2, 1, width=9, frequencies=2.0).architecture())
    assert torch.equal(again.linears[0].weight, MLP(2, 1, width=9, frequencies=[2.0, 2.0]).linears[0].weight)


class TestComplaints:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"width": 0}, "width=0"),
            ({"depth": 0}, "depth=0"),
            ({"activation": "tahn"}, "Unknown activation 'tahn'"),
            ({"bounds": [[0, 1]]}, "1 bounds for 2 coordinates"),
            ({"bounds": [[0, 1], [2, 2]]}, "Coordinate 1 has the bounds 2 and 2"),
            ({"periods": {5: 1.0}}, "no coordinate 5"),
            ({"periods": {0: -1.0}}, "positive length"),
            ({"periods": {0: 1.0}, "harmonics": 0}, "harmonics is 0"),
            ({"fourier": -1}, "fourier=-1"),
            ({"frequencies": [1.0]}, "give 2 positive numbers"),
            ({"frequencies": 0.0}, "give 2 positive numbers"),
        ],
    )
    def test_impossible_numbers_are_named(self, arguments, message):
        with pytest.raises(ConfigurationError, match=message):
            MLP(2, 1, **arguments)

    def test_a_piratenet_is_as_wide_as_its_features(self):
        with pytest.raises(ConfigurationError, match="fourier=4"):
            PirateNet(2, 1, width=8, fourier=3)

    def test_other_targets_are_refused(self):
        with pytest.raises(ConfigurationError, match="not allowed here"):
            build({"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 1})

    def test_points_of_other_dimension_are_refused(self):
        with pytest.raises(InputError, match="takes 2 coordinates; the points have 3"):
            MLP(2, 1).jet(Jet.of_points(JetLayout("xyt"), torch.zeros(4, 3, dtype=torch.float64)))
