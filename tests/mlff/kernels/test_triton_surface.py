"""Many systems in motion, asked of the program of Triton's kernels instead of the network in torch."""

import numpy as np
import pytest
import torch
from ase import Atoms

from mlff.deploy.batched_md.forces import Surface
from mlff.deploy.batched_md.systems import Systems
from mlff.student import PaiNN

pytestmark = pytest.mark.usefixtures("tight")

SYSTEMS = [
    Atoms("OH", [[0, 0, 0], [0, 0.7, 0.6]]),
    Atoms("Si", cell=[[2.5, 0.1, 0.0], [0.2, 2.6, 0.0], [0.0, 0.3, 7.0]], pbc=True),
    Atoms("H"),
]


def surface(kernels: str, device: torch.device, groups: list[int]) -> Surface:
    torch.manual_seed(3)
    model = PaiNN([1, 8, 14], channels=4, layers=1, radial=6, cutoff=3.0, kernels=kernels)
    model.set_reference({1: -13.6, 8: -2043.0, 14: -7870.0}, energy_scale=3.0)
    model.to(device, torch.float64).requires_grad_(False)
    return Surface(model, Systems.of(SYSTEMS, device), 0.4, groups)


def test_moving_systems_have_the_forces_of_the_network(device):
    """In two groups, between two lists, over a new one, and in a cell that grows while its list lasts; then two atoms
    collide, which does not touch the other systems."""
    asked, truth = surface("triton", device, [0, 2]), surface("reference", device, [0])
    moves = torch.as_tensor(np.random.default_rng(0).normal(0, 1, (4, 3)), device=device)
    for size in (0.0, 0.02, 0.15):
        for one in (asked, truth):
            one.systems.positions = one.systems.positions + size * moves
            one.systems.cell = one.systems.cell * 1.001
        found, expected = asked(stress=True), truth(stress=True)
        torch.testing.assert_close(found.energy, expected.energy, rtol=0, atol=1e-10)
        torch.testing.assert_close(found.forces, expected.forces, rtol=0, atol=1e-10)
        torch.testing.assert_close(found.stress, expected.stress, rtol=0, atol=1e-10)
        torch.testing.assert_close(found.closest, expected.closest, rtol=0, atol=1e-12)
    assert asked.builds == truth.builds == 2
    asked.systems.positions[1] = asked.systems.positions[0] + 0.06
    after = asked()
    assert torch.isnan(after.energy[0]).all() and torch.isnan(after.forces[:2]).all() and after.closest[0] < 0.3
    assert torch.equal(after.energy[1:], found.energy[1:]) and torch.equal(after.forces[2:], found.forces[2:])
