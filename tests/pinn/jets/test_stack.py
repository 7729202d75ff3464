"""The chain of layers in one operation: equal to layer by layer, and its borrowed memory is nobody else's."""

import gc
from itertools import pairwise

import pytest
import torch
from jet_layouts import LAYOUTS
from torch import nn

from pinn.jets import workspace
from pinn.jets.activations import ACTIVATIONS, activate, activation
from pinn.jets.jet import Jet
from pinn.jets.linear import linear
from pinn.jets.stack import dense_chain

LAYOUT = LAYOUTS["mixed second"]


def layers(widths=(3, 7, 5, 2)) -> list[nn.Linear]:
    torch.manual_seed(0)
    return [nn.Linear(n, m, dtype=torch.float64) for n, m in pairwise(widths)]


def parts(n_points: int = 31, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(LAYOUT.n_parts, n_points, 3, generator=generator, dtype=torch.float64)


def layer_by_layer(jet: Jet, chain: list[nn.Linear], name: str) -> Jet:
    for layer in chain[:-1]:
        jet = activate(activation(name), linear(jet, layer.weight, layer.bias))
    return linear(jet, chain[-1].weight, chain[-1].bias)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_equals_layer_by_layer(name):
    chain, found = layers(), []
    for function in (
        lambda jet: dense_chain(jet, chain, activation(name)),
        lambda jet: layer_by_layer(jet, chain, name),
    ):
        given = parts().requires_grad_(True)
        result = function(Jet(LAYOUT, given)).parts
        leaves = [given, *(p for layer in chain for p in layer.parameters())]
        found.append([result.detach(), *torch.autograd.grad(result.square().sum(), leaves)])
    for value, truth in zip(*found, strict=True):
        torch.testing.assert_close(value, truth, rtol=1e-13, atol=1e-13)


def test_only_what_is_asked_is_differentiated():
    chain = layers()
    chain[1].weight.requires_grad_(False)
    chain[0].bias.requires_grad_(False)
    dense_chain(Jet(LAYOUT, parts()), chain, activation("tanh")).parts.square().sum().backward()
    assert chain[1].weight.grad is None
    assert chain[0].bias.grad is None
    assert chain[0].weight.grad.abs().min() > 0


class TestMemory:
    def gradient(self, result: torch.Tensor, chain: list[nn.Linear], keep: bool = False) -> torch.Tensor:
        return torch.autograd.grad(result.square().sum(), chain[0].weight, retain_graph=keep)[0]

    def forward(self, chain: list[nn.Linear], seed: int) -> torch.Tensor:
        return dense_chain(Jet(LAYOUT, parts(seed=seed)), chain, activation("tanh")).parts

    def test_a_second_backward_gives_the_same(self):
        chain = layers()
        result = self.forward(chain, 0)
        first = self.gradient(result, chain, keep=True)
        assert torch.equal(self.gradient(result, chain), first)

    def test_graphs_that_live_together_do_not_share(self):
        chain = layers()
        alone = [self.gradient(self.forward(chain, seed), chain) for seed in range(3)]
        together = [self.forward(chain, seed) for seed in range(3)]
        with torch.no_grad():
            self.forward(chain, 7)
        for result, expected in zip(together, alone, strict=True):
            assert torch.equal(self.gradient(result, chain), expected)

    def test_results_survive_their_graph(self):
        chain = layers()
        with torch.no_grad():
            kept = self.forward(chain, 0)
        copy = kept.clone()
        self.gradient(self.forward(chain, 1), chain)
        assert torch.equal(kept, copy)

    def test_the_same_memory_serves_every_step(self):
        chain = layers()
        sizes = []
        for seed in range(4):
            self.gradient(self.forward(chain, seed), chain)
            gc.collect()
            sizes.append(workspace.pooled_bytes())
        assert sizes[0] == sizes[-1] > 0

    def test_the_pool_is_bounded(self, monkeypatch):
        monkeypatch.setattr(workspace, "LARGEST_POOL", 1000)
        chain = layers()
        self.gradient(self.forward(chain, 0), chain)
        gc.collect()
        assert workspace.pooled_bytes() <= 1000
