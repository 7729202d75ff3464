"""Every fast CPU kernel against plain torch: results, and derivatives of a loss through them."""

import pytest
import torch
from jet_layouts import LAYOUTS

from pinn.jets import kernels
from pinn.jets.activations import ACTIVATIONS, activate, activation
from pinn.jets.jet import Jet
from pinn.jets.products import multiply
from training.errors import ConfigurationError

# a few operations on numbers of order one to ten
TOLERANCE = {torch.float64: 1e-13, torch.float32: 5e-5}
DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
SHAPES = pytest.mark.parametrize("shape", [(37, 20), (1, 1), (300, 7)], ids=str)


def random(n_parts: int, shape: tuple[int, int], dtype: torch.dtype, seed: int) -> torch.Tensor:
    return torch.randn(n_parts, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def both(function, *inputs):
    """Result and gradients with the fast kernels, then in plain torch."""
    found = []
    for name in ("numba", "reference"):
        leaves = [value.clone().requires_grad_(True) for value in inputs]
        with kernels.use_kernels(name):
            result = function(*leaves)
        cotangent = random(len(result), tuple(result.shape[1:]), result.dtype, seed=9)
        found.append((result.detach(), *torch.autograd.grad(result, leaves, cotangent)))
    return zip(*found, strict=True)


def check(value: torch.Tensor, truth: torch.Tensor) -> None:
    assert value.dtype == truth.dtype
    assert (value - truth).abs().max() <= TOLERANCE[value.dtype] * truth.abs().max().clamp(min=1.0)


@DTYPES
@SHAPES
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
class TestEqualsPlainTorch:
    @pytest.mark.parametrize("name", ACTIVATIONS)
    def test_activation(self, name, layout, shape, dtype):
        for value, truth in both(
            lambda parts: activate(activation(name), Jet(layout, parts)).parts, random(layout.n_parts, shape, dtype, 1)
        ):
            check(value, truth)

    def test_product(self, layout, shape, dtype):
        factors = random(layout.n_parts, shape, dtype, 1), random(layout.n_parts, shape, dtype, 2)
        for value, truth in both(lambda a, b: multiply(layout, a, b), *factors):
            check(value, truth)


def test_a_product_with_a_fixed_factor_has_the_gradient_of_the_other():
    layout = LAYOUTS["third"]
    fixed, moved = random(layout.n_parts, (20, 3), torch.float64, 1), random(layout.n_parts, (20, 3), torch.float64, 2)
    for order in (lambda a: multiply(layout, fixed, a), lambda a: multiply(layout, a, fixed)):
        for value, truth in both(order, moved):
            check(value, truth)


@pytest.mark.parametrize("threads", [2, 3])
def test_results_do_not_depend_on_the_number_of_threads(threads):
    layout = LAYOUTS["mixed fourth"]
    parts = random(layout.n_parts, (4001, 5), torch.float64, 1)
    assert parts.numel() > kernels.WORTH_SHARING

    def results() -> list[torch.Tensor]:
        leaf = parts.clone().requires_grad_(True)
        result = activate(activation("tanh"), Jet(layout, leaf)).parts
        result = multiply(layout, result, leaf)
        return [result.detach(), *torch.autograd.grad(result.square().sum(), leaf)]

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = results()
        torch.set_num_threads(threads)
        assert all(torch.equal(a, b) for a, b in zip(alone, results(), strict=True))
    finally:
        torch.set_num_threads(before)


class TestChoice:
    def test_what_cannot_run_fast_says_so_once(self, caplog):
        kernels._obstacle.cache_clear()
        half = torch.zeros(2, 3, 1, dtype=torch.bfloat16)
        assert not any(kernels.fast(half) for _ in range(3))
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "the network is torch.bfloat16" in caplog.text

    def test_a_graphics_card_takes_plain_torch(self):
        assert "on cuda" in kernels._obstacle("cuda", torch.float32)

    def test_insisting_on_what_cannot_run_is_an_error(self):
        with kernels.use_kernels("numba"), pytest.raises(ValueError, match="cannot be used: they compute in float32"):
            kernels.fast(torch.zeros(1, dtype=torch.float16))

    def test_unknown_kernels_are_named(self):
        with pytest.raises(ValueError, match="Unknown kernels 'triton'"):
            kernels.use_kernels("triton")

    def test_the_choice_ends_with_its_block(self):
        with kernels.use_kernels("reference"):
            assert not kernels.fast(torch.zeros(1))
        assert kernels.fast(torch.zeros(1))


def test_an_unknown_activation_is_named():
    with pytest.raises(ConfigurationError, match=r"Unknown activation 'tahn'.*tanh"):
        activation("tahn")
