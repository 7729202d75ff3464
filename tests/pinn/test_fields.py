"""Fields answer by name, tracing finds what equations need, and every operator is the one its name says."""

import math

import pytest
import torch

from pinn.fields import JetField, record, spelled, trace
from pinn.jets.jet import Jet
from pinn.jets.layout import JetLayout
from training.errors import ConfigurationError

POINTS = torch.rand(50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.2


def field(function, layout=None, points=POINTS, space=("x",)):
    layout = layout or JetLayout("xt", ["xx", "xt", "tt"])
    jets = Jet.coordinates(layout, points)
    return JetField("u", function(**jets), space)


class TestNames:
    def test_derivatives_in_any_order(self):
        u = field(lambda x, t: x * x * t)
        x = POINTS[:, 0]
        torch.testing.assert_close(u.xt, 2 * x, rtol=1e-14, atol=0)
        assert torch.equal(u.xt, u.tx)
        assert torch.equal(u.xt, u.d("t", "x"))
        torch.testing.assert_close(u.t, x * x, rtol=1e-14, atol=0)

    def test_long_names(self):
        jets = Jet.coordinates(JetLayout(("x1", "x2"), [("x1", "x2")]), POINTS)
        u = JetField("u", jets["x1"] * jets["x2"] * 3.0, ("x1", "x2"))
        assert torch.equal(u.d("x2", "x1"), torch.full((50,), 3.0, dtype=torch.float64))
        assert torch.equal(u.x1x2, u.d("x1", "x2"))
        assert spelled("x1x1", ("x1", "x")) == ("x1", "x1")
        assert spelled("xy", ("x", "t")) is None

    def test_an_unknown_derivative_is_named(self):
        with pytest.raises(ConfigurationError, match=r"u\.y is no derivative of u.*Known here: x, t"):
            _ = field(lambda x, t: x).y
        with pytest.raises(ConfigurationError, match="by 'tt'"):
            field(lambda x, t: x).d("tt")

    def test_a_derivative_that_was_not_computed_says_why(self):
        with pytest.raises(ConfigurationError, match="when it was traced"):
            _ = field(lambda x, t: x * t).xxx

    def test_fields_can_be_copied_and_inspected(self):
        # __getattr__ must not answer for Python's own names
        u = field(lambda x, t: x)
        assert not hasattr(u, "__deepcopy__")
        assert repr(u) == "Field('u', 50 points)"


class TestArithmetic:
    def test_a_field_is_its_value(self):
        u, x = field(lambda x, t: x + t), POINTS.sum(dim=1)
        for found, expected in [
            (u + 1, x + 1), (1 + u, 1 + x), (u - x, x - x), (x - u, x - x), (2 - u, 2 - x), (u * u, x * x),
            (x * u, x * x), (2 / u, 2 / x), (u / u, x / x), (u**2, x**2), (2**u, 2**x), (-u, -x), (abs(-u), x),
            (torch.sin(u), torch.sin(x)), (torch.stack([u, u]), torch.stack([x, x])), (u[3:5], x[3:5]), (x + u, 2 * x),
        ]:  # fmt: skip
            torch.testing.assert_close(found, expected, rtol=1e-15, atol=0)
            assert type(found) is torch.Tensor


class TestTrace:
    def test_finds_exactly_what_is_asked(self):
        found = trace(lambda u, x: {"r": u.t + u * u.x - 0.1 * u.xx * x}, ("x", "t"), ("u",))
        assert found["u"] == JetLayout("xt", ["t", "xx"])

    def test_each_field_has_its_own(self):
        found = trace(lambda u, p: {"r": u.yy - p.x, "c": u.x}, ("x", "y"), ("u", "p"))
        assert found == {"u": JetLayout("xy", ["yy", "x"]), "p": JetLayout("xy", ["x"])}

    def test_parameters_are_numbers(self):
        found = trace(lambda u, speed: {"r": u.t + speed * u.x}, ("x", "t"), ("u",), ("speed",))
        assert found["u"] == JetLayout("xt", ["t", "x"])

    def test_a_laplacian_is_collapsed_in_more_than_two_dimensions(self):
        def equations(u):
            return {"r": u.laplacian}

        assert trace(equations, "xyt", ("u",))["u"] == JetLayout("xyt", ["xx", "yy"])
        names = tuple(f"x{n}" for n in range(10))
        assert trace(equations, names, ("u",))["u"] == JetLayout(names, laplacian=names)

    def test_a_laplacian_beside_all_its_terms_is_their_sum(self):
        found = trace(lambda u: {"r": u.laplacian + u.xx * u.yy * u.zz}, "xyz", ("u",))
        assert found["u"] == JetLayout("xyz", ["xx", "yy", "zz"])

    def test_conditions_are_recorded_at_given_points(self):
        found = record(lambda f, c: {"r": f["u"].x[::2] - c["x"][1::2]}, ("x", "t"), ("u",), points=torch.rand(6, 2))
        assert found["u"] == JetLayout("xt", ["x"])

    @pytest.mark.parametrize(
        ("equations", "message"),
        [
            (lambda v: {"r": v.x}, "no 'v'.*Known here"),
            (lambda u, viscosty: {"r": u.x}, "no 'viscosty'.*did you mean viscosity"),
            (lambda u: {"r": u.z}, r"u\.z is no derivative"),
            (lambda u: {"r": u.xxxxx}, "order 5"),
            (lambda u: u.x, "dictionary of residuals by name"),
            (lambda u: {}, "dictionary of residuals by name"),
            (lambda u: {"r": u.x.mean()}, r"'r' has shape \(\)"),
            (lambda u: {"r": torch.stack([u.x, u.t])}, r"'r' has shape \(2, 4\)"),
            (lambda u: {"r": 1.0}, "'r' has shape float"),
        ],
    )
    def test_mistakes_are_named(self, equations, message):
        with pytest.raises(ConfigurationError, match=message):
            trace(equations, ("x", "t"), ("u",), ("viscosity",))


def sine(**jets):
    """``sin(Σ k_n x_n + 0.3)`` with k = 1.0, 1.1, …: an eigenfunction of every operator."""
    return torch.sin(sum((jet * (1 + 0.1 * n) for n, jet in enumerate(jets.values())), start=0.3))


OPERATORS = {
    # equations, coordinates, and their residual on the sine by hand: s and c are sine and cosine of the phase
    "advection": (lambda u: u.t + 50 * u.x, "xt", lambda s, c, k: (k[1] + 50 * k[0]) * c),
    "burgers": (
        lambda u: u.t + u * u.x - 0.01 * u.xx, "xt",
        lambda s, c, k: k[1] * c + k[0] * s * c + 0.01 * k[0] ** 2 * s,
    ),
    "heat": (lambda u: u.t - u.laplacian, "xt", lambda s, c, k: k[1] * c + k[0] ** 2 * s),
    "wave": (lambda u: u.tt - 4 * u.xx, "xt", lambda s, c, k: (4 * k[0] ** 2 - k[1] ** 2) * s),
    "allen-cahn": (
        lambda u: u.t - 1e-4 * u.xx + 5 * (u**3 - u), "xt",
        lambda s, c, k: k[1] * c + 1e-4 * k[0] ** 2 * s + 5 * (s**3 - s),
    ),
    "korteweg-de vries": (
        lambda u: u.t + u * u.x + 0.0025 * u.xxx, "xt",
        lambda s, c, k: k[1] * c + k[0] * s * c - 0.0025 * k[0] ** 3 * c,
    ),
    "kuramoto-sivashinsky": (
        lambda u: u.t + u * u.x + u.xx + u.xxxx, "xt",
        lambda s, c, k: k[1] * c + k[0] * s * c - k[0] ** 2 * s + k[0] ** 4 * s,
    ),
    "helmholtz": (lambda u: u.laplacian + u, "xy", lambda s, c, k: (1 - k[0] ** 2 - k[1] ** 2) * s),
    "mixed": (lambda u: u.xy + u.xyy + u.xxyy, "xy", lambda s, c, k: -k[0] * k[1] * (s + k[1] * c - k[0] * k[1] * s)),
    "biharmonic": (
        lambda u: u.xxxx + 2 * u.xxyy + u.yyyy, "xy", lambda s, c, k: (k[0] ** 2 + k[1] ** 2) ** 2 * s,
    ),
    "poisson in 3D": (lambda u: u.laplacian, "xyz", lambda s, c, k: -sum(n * n for n in k) * s),
    "heat in 3D": (lambda u: u.t - u.laplacian, "xyzt", lambda s, c, k: k[3] * c + sum(n * n for n in k[:3]) * s),
    "gradient squared": (lambda u: u.x**2 + u.y**2, "xy", lambda s, c, k: (k[0] ** 2 + k[1] ** 2) * c**2),
}  # fmt: skip


@pytest.mark.parametrize(("operator", "coordinates", "by_hand"), OPERATORS.values(), ids=OPERATORS.keys())
def test_manufactured_solutions(operator, coordinates, by_hand):
    layout = trace(lambda u: {"r": operator(u)}, coordinates, ("u",))["u"]
    points = torch.rand(64, len(coordinates), generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    space = tuple(name for name in coordinates if name != "t")
    found = operator(field(sine, layout, points, space))
    k = [1 + 0.1 * n for n in range(len(coordinates))]
    phase = points @ torch.tensor(k, dtype=torch.float64) + 0.3
    expected = by_hand(torch.sin(phase), torch.cos(phase), k)
    # the bar is 1e-8; float64 reaches far below
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12 * max(1.0, expected.abs().max().item()))


def test_poisson_in_ten_dimensions():
    names = tuple(f"x{n}" for n in range(10))
    layout = trace(lambda u: {"r": u.laplacian}, names, ("u",))["u"]
    assert layout.n_parts == 12
    points = torch.rand(64, 10, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    jets = Jet.coordinates(layout, points)
    product = jets["x0"]
    for name in names[1:]:
        product = product * torch.cos(jets[name])
    u = JetField("u", product, names)
    expected = -9 * points[:, 0] * torch.cos(points[:, 1:]).prod(dim=1)
    torch.testing.assert_close(u.laplacian, expected, rtol=1e-12, atol=1e-13)
    assert math.isclose(float(u.d("x0").mean()), float(torch.cos(points[:, 1:]).prod(dim=1).mean()), rel_tol=1e-13)
