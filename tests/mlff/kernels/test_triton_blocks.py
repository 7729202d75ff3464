"""The node blocks atom by atom against the same blocks as matrix products, which the program's tests compare with the
network."""

import pytest
import torch

from mlff.kernels.cuda_graph import Capacity
from mlff.kernels.triton_blocks import ByProducts, ByRows
from mlff.kernels.triton_memory import Memory, Network
from mlff.kernels.triton_products import Products
from mlff.student import PaiNN
from mlff.student.weights import tabulated_radial, weights_of


def swept(blocks, network: Network, n_atoms: int) -> list[torch.Tensor]:
    """Both layers up and down, with random numbers in the place of the messages; all that the way has left."""
    memory = Memory(Capacity(n_atoms, 1), network)
    nodes, generator = blocks(network, memory), torch.Generator().manual_seed(0)

    def fill(*tensors):
        for tensor in tensors:
            tensor.copy_(torch.randn(tensor.shape, generator=generator, dtype=torch.float64))

    fill(memory.scalars)
    for layer in (0, 1):
        fill(memory.after)
        nodes.forward(layer)
    outputs = memory.outputs.clone(), memory.scalar_bar.clone()
    nodes.reverse(1)
    last = memory.scalar_bar.clone(), memory.vector_bars[1].clone()
    fill(memory.bars, memory.vector_bars[0])
    nodes.reverse(0)
    tapes = [tensor for tape in memory.tapes for tensor in tape if tensor.numel()]
    return [*outputs, *last, memory.scalar_bar, memory.vector_bars[0], memory.scalars, *tapes]


def by_products(network: Network, memory: Memory) -> ByProducts:
    return ByProducts(network, memory, Products(network.tensors))


@pytest.mark.parametrize(("n_atoms", "channels"), [(1, 20), (2, 3)])
def test_atom_by_atom_equals_the_products(device, n_atoms, channels):
    """More channels than inputs that are worked on at once, and fewer."""
    torch.manual_seed(0)
    model = PaiNN([1, 8], channels=channels, layers=2, radial=4).double()
    for bias in (p for name, p in model.named_parameters() if name.endswith("bias")):
        torch.nn.init.normal_(bias)
    network = Network(weights_of(model, tabulated_radial(model, 0.2, 1e-3), nearest=0.3), torch.float64, device)
    truth, found = (swept(blocks, network, n_atoms) for blocks in (by_products, ByRows))
    for value, expected in zip(found, truth, strict=True):
        assert expected.abs().max() > 0.01
        torch.testing.assert_close(value, expected, rtol=1e-13, atol=1e-13)
