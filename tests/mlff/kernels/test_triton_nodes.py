"""Triton's kernels between the products of the node blocks, against the blocks of the network in torch."""

import pytest
import torch
from torch.nn.functional import silu

from mlff.kernels import triton_nodes
from mlff.student.blocks import NORM_FLOOR, Update
from mlff.student.layers import silu_slope

TOLERANCE = {torch.float64: 1e-13, torch.float32: 1e-5}
ATOMS = 4


@pytest.fixture(params=[(6, 16, torch.float64), (3, 5, torch.float64), (1, 64, torch.float32)], ids=str)
def case(request, device):
    """Atoms, channels, precision, and a source of random tensors."""
    n_atoms, channels, dtype = request.param
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(device, dtype)

    return n_atoms, channels, random


def launch(kernel, n_atoms, channels, *tensors, **more):
    size = {"F": channels, "BLOCK": 1 << (channels - 1).bit_length(), "ATOMS": ATOMS}
    kernel[(-(-n_atoms // ATOMS),)](*tensors, n_atoms, **more, **size)


def check(value, truth):
    torch.testing.assert_close(value, truth, rtol=TOLERANCE[truth.dtype], atol=TOLERANCE[truth.dtype])


def test_activation_and_product(case):
    n_atoms, channels, random = case
    hidden, factor = 5 * random(n_atoms, channels), random(n_atoms, channels)
    value, slope = hidden.clone(), torch.empty_like(hidden)
    triton_nodes.activate[(-(-hidden.numel() // 64),)](value, slope, hidden.numel(), SIZE=64)
    check(value, silu(hidden))
    check(slope, silu_slope(hidden))
    triton_nodes.multiply_by[(-(-hidden.numel() // 64),)](value, factor, hidden.numel(), SIZE=64)
    check(value, silu(hidden) * factor)


def test_readout_of_an_atom_and_where_its_reverse_sweep_starts(case):
    n_atoms, channels, random = case
    hidden, weight, bias = random(n_atoms, channels), random(channels), random(1)
    changed, outputs = hidden.clone(), torch.empty_like(hidden[:, 0])
    launch(triton_nodes.read_out, n_atoms, channels, changed, weight, bias, outputs)
    check(outputs, silu(hidden) @ weight + bias)
    check(changed, weight * silu_slope(hidden))


@pytest.mark.parametrize("final", [False, True], ids=["with vectors above", "final"])
def test_an_update_block_and_its_reverse(case, final):
    n_atoms, channels, random = case
    scalars, vectors = random(n_atoms, channels), random(n_atoms, 3, channels)
    block = Update(channels, final).to(scalars).requires_grad_(False)
    parts = block.parts
    above, beyond, tape = block(scalars, vectors)

    mixed = vectors @ block.mix.weight.t()
    entry = torch.empty_like(torch.cat([scalars, scalars], dim=-1))
    launch(triton_nodes.gate_input, n_atoms, channels, scalars, mixed, entry, scalars.new_full((1,), NORM_FLOOR))
    check(entry, torch.cat([scalars, tape.norm], dim=-1))

    gates, new_scalars, new_vectors = block.gate(entry)[0], scalars.clone(), torch.full_like(vectors, torch.nan)
    launch(triton_nodes.apply_gates, n_atoms, channels, new_scalars, vectors, mixed, gates, new_vectors, PARTS=parts)
    check(new_scalars, above)
    if not final:
        check(new_vectors, beyond)

    scalar_bar, vector_bar = random(n_atoms, channels), None if final else random(n_atoms, 3, channels)
    below = block.reverse(scalar_bar, vector_bar, tape)
    given = torch.full_like(vectors, torch.nan) if vector_bar is None else vector_bar
    bars = torch.empty_like(gates)
    launch(triton_nodes.gate_bars, n_atoms, channels, scalar_bar, given, mixed, bars, PARTS=parts)
    entry_bar, changed, mixed_bar = block.gate.reverse(bars, tape.hidden), scalar_bar.clone(), torch.empty_like(mixed)
    launch(
        triton_nodes.mixed_bars, n_atoms, channels, changed, given, mixed, gates, entry, entry_bar, mixed_bar,
        PARTS=parts,
    )  # fmt: skip
    through = mixed_bar @ block.mix.weight
    check(changed, below[0])
    check(through if vector_bar is None else vector_bar + through, below[1])
