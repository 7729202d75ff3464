"""Per-point Jacobians equal one backward pass per residual; their products and the normal equations follow."""

import pytest
import torch

from pinn.fields import trace
from pinn.jacobian import linearize, normal_equations, residual_jacobian
from pinn.jets.capture import per_point
from pinn.jets.kernels import use_kernels
from pinn.networks import MLP, ModifiedMLP, PirateNet
from pinn.residuals import fields_at, prepare, union
from training.errors import InputError

BOUNDS = [[-1.0, 1.0], [0.0, 1.0]]
NETWORKS = {
    "mlp": lambda: MLP(2, 2, width=7, depth=2, bounds=BOUNDS),
    "modified": lambda: ModifiedMLP(2, 2, width=6, depth=2, bounds=BOUNDS),
    "pirate": lambda: PirateNet(2, 2, width=6, depth=2, bounds=BOUNDS),
}


class Toy:
    """Two coupled equations with an unknown speed; the second field obeys nothing."""

    coordinates = ("x", "t")
    space = ("x",)
    fields = ("u", "v")

    def network_coordinates(self, coordinates):
        return dict(coordinates)

    def ansatz_terms(self, coordinates, parameters=None, fields=None):
        x, t = coordinates["x"], coordinates["t"]
        return {"u": (-torch.sin(torch.pi * x), (1 - x * x) * t), "v": (None, None)}

    def equations(self, u, v, speed):
        return {"first": u.t + speed * u * u.x - 0.01 * u.xxx, "second": v.t * u - speed**2 * v.x}


class Setting:
    """A network, its unknown speed, and functions of residuals."""

    def __init__(self, network, n=23):
        self.problem, self.network = Toy(), network
        self.speed = torch.nn.Parameter(torch.tensor(0.8, dtype=torch.float64))
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter += 0.2 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        layouts = trace(self.problem.equations, ("x", "t"), ("u", "v"), ("speed",))
        points = torch.rand(n, 2, generator=generator, dtype=torch.float64) * 2 - torch.tensor([1.0, 0.0])
        self.prepared = prepare(self.problem, network, points, union(layouts.values()))
        self.parameters = [*network.parameters(), self.speed]

    def equations(self):
        fields = fields_at(self.network, self.prepared)
        speed = per_point(self.speed, len(self.prepared)).reshape(-1)
        return self.problem.equations(**fields, speed=speed)

    def pairs(self):
        """Residuals of two points each, as of periodic conditions; one point is left over."""
        u = fields_at(self.network, self.prepared)["u"]
        return {"pairs": u.value[0:22:2] - u.value[1:22:2]}


def naive(residuals, parameters):
    """One backward pass per number."""
    rows = []
    for residual in torch.cat(list(residuals.values())):
        grads = torch.autograd.grad(residual, parameters, retain_graph=True, materialize_grads=True)
        rows.append(torch.cat([grad.reshape(-1) for grad in grads]))
    return torch.stack(rows)


@pytest.fixture(params=NETWORKS.values(), ids=NETWORKS.keys())
def setting(request):
    return Setting(request.param())


def check_close(value, truth):
    # the bar of the contract, relative to the largest element
    assert (value - truth).abs().max() <= 1e-10 * truth.abs().max()
    # and what float64 gives
    assert (value - truth).abs().max() <= 1e-13 * truth.abs().max()


class TestJacobian:
    @pytest.mark.parametrize("kernels", ["numba", "reference"])
    def test_equals_one_backward_pass_per_residual(self, setting, kernels):
        with use_kernels(kernels):
            residuals, jacobian = residual_jacobian(setting.equations, setting.parameters)
        torch.testing.assert_close(
            residuals, torch.cat(list(setting.equations().values())).detach(), rtol=1e-12, atol=1e-12
        )
        check_close(jacobian, naive(setting.equations(), setting.parameters))
        # the unknown number has its column
        assert jacobian[:, -1].abs().min() > 0

    def test_products_are_those_of_the_matrix(self, setting):
        linear = linearize(setting.equations, setting.parameters)
        jacobian = linear.jacobian()
        generator = torch.Generator().manual_seed(1)
        direction = torch.randn(linear.n_parameters, generator=generator, dtype=torch.float64)
        weights = torch.randn(len(linear.residuals), generator=generator, dtype=torch.float64)
        check_close(linear.jvp(direction), jacobian @ direction)
        check_close(linear.vjp(weights), jacobian.t() @ weights)

    def test_any_order_and_choice_of_parameters(self, setting):
        chosen = [setting.speed, *list(setting.network.parameters())[3:0:-1]]
        linear = linearize(setting.equations, chosen)
        truth = naive(setting.equations(), chosen)
        check_close(linear.jacobian(), truth)
        ones = torch.ones(truth.shape[1], dtype=torch.float64)
        check_close(linear.jvp(ones), truth @ ones)
        check_close(linear.vjp(torch.ones(len(truth), dtype=torch.float64)), truth.sum(dim=0))

    def test_several_rows_of_the_network_per_residual(self):
        setting = Setting(MLP(2, 2, width=7, depth=2), n=22)
        linear = linearize(setting.pairs, setting.parameters)
        truth = naive(setting.pairs(), setting.parameters)
        check_close(linear.jacobian(), truth)
        weights = torch.arange(11.0, dtype=torch.float64)
        check_close(linear.vjp(weights), truth.t() @ weights)
        direction = torch.linspace(-1, 1, truth.shape[1], dtype=torch.float64)
        check_close(linear.jvp(direction), truth @ direction)
        with use_kernels("reference"):
            check_close(linear.jacobian(), truth)

    def test_a_network_evaluated_twice_adds_up(self):
        setting = Setting(MLP(2, 2, width=7, depth=2))
        other = Setting(setting.network)

        def difference():
            return [fields_at(setting.network, s.prepared)["u"].t * (k + 1.0) for k, s in enumerate((setting, other))]

        def together():
            first, second = difference()
            return {"difference": first - second**2}

        check_close(linearize(together, setting.parameters).jacobian(), naive(together(), setting.parameters))

    def test_parameters_outside_linear_layers_are_found_too(self):
        setting = Setting(MLP(2, 2, width=7, depth=2))

        def scaled():
            # a number and a weight used directly, not through per_point
            fields = fields_at(setting.network, setting.prepared)
            factor = setting.speed + setting.network.linears[0].weight[0, 0]
            return {"r": factor * fields["u"].t, "s": fields["v"].x}

        linear = linearize(scaled, setting.parameters)
        truth = naive(scaled(), setting.parameters)
        check_close(linear.jacobian(), truth)
        direction = torch.linspace(-1, 1, truth.shape[1], dtype=torch.float64)
        check_close(linear.jvp(direction), truth @ direction)
        check_close(linear.vjp(torch.ones(len(truth), dtype=torch.float64)), truth.sum(dim=0))

    def test_a_residual_without_weights_has_a_zero_row(self):
        setting = Setting(MLP(2, 2, width=4, depth=1))

        def residuals():
            return {"fixed": setting.prepared.columns["x"], "free": fields_at(setting.network, setting.prepared)["u"].t}

        jacobian = linearize(residuals, setting.parameters).jacobian()
        assert jacobian[:23].abs().max() == 0
        assert jacobian[23:].abs().max() > 0

    def test_writes_where_it_is_told(self, setting):
        linear = linearize(setting.equations, setting.parameters)
        room = torch.full((len(linear.residuals), linear.n_parameters), torch.nan, dtype=torch.float64)
        assert linear.jacobian(out=room) is room
        assert torch.equal(room, linear.jacobian())

    def test_single_precision(self):
        setting = Setting(MLP(2, 2, width=7, depth=2))
        exact = linearize(setting.equations, setting.parameters).jacobian()
        setting.network.float()
        setting.speed.data = setting.speed.data.float()
        setting.prepared = prepare(setting.problem, setting.network, setting.prepared.points, setting.prepared.layout)
        single = linearize(setting.equations, setting.parameters).jacobian()
        assert single.dtype == torch.float32
        assert (single - exact).abs().max() <= 1e-4 * exact.abs().max()


class TestNormalEquations:
    @pytest.mark.parametrize("block", [512, 16])
    def test_chunks_add_up_to_the_whole(self, setting, block, monkeypatch):
        monkeypatch.setattr("pinn.jacobian._BLOCK", block)
        residuals, jacobian = residual_jacobian(setting.equations, setting.parameters)
        chunks = []
        for rows in torch.arange(23).split(5):
            part = Setting.__new__(Setting)
            part.__dict__ = {**setting.__dict__}
            part.prepared = prepare(
                setting.problem, setting.network, setting.prepared.points[rows], setting.prepared.layout
            )
            chunks.append(part.equations)
        matrix, gradient, loss = normal_equations(chunks, setting.parameters)
        check_close(matrix, jacobian.t() @ jacobian)
        assert torch.equal(matrix, matrix.t())
        check_close(gradient, jacobian.t() @ residuals)
        check_close(loss, residuals.square().sum())

    def test_no_chunk_is_an_error(self, setting):
        with pytest.raises(InputError, match="at least one chunk"):
            normal_equations([], setting.parameters)


class TestComplaints:
    def test_a_residual_is_one_number_per_point(self, setting):
        with pytest.raises(InputError, match=r"shape \(23, 1\)"):
            linearize(lambda: {"r": setting.equations()["first"].unsqueeze(1)}, setting.parameters)

    def test_rows_that_cannot_belong_to_residuals_are_refused(self, setting):
        with pytest.raises(InputError, match="5 numbers comes from a network at 23 points"):
            linearize(lambda: {"r": setting.equations()["first"][:5]}, setting.parameters)
