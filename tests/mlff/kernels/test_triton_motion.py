"""Recorded dynamics against those that look at every step."""

import numpy as np
import pytest
import torch
from ase import Atoms, units

from mlff.deploy.batched_md.forces import Surface
from mlff.deploy.batched_md.integrators import VelocityVerlet
from mlff.deploy.batched_md.recorded import RecordedDynamics
from mlff.deploy.batched_md.systems import Systems
from mlff.student import PaiNN
from training.errors import InputError

pytestmark = pytest.mark.usefixtures("tight")

STEP = 1.0 * units.fs


def moving(device, periodic: bool, speed: float = 0.05) -> Systems:
    pair = Atoms("OH", [[0.1, 0, 0], [0.2, 0.7, 0.6]], cell=[9.0, 9.0, 2.8], pbc=periodic and [True, True, True])
    pair.set_velocities(speed * np.random.default_rng(0).normal(size=(2, 3)))
    return Systems.of([pair], device)


def student(device) -> PaiNN:
    torch.manual_seed(3)
    model = PaiNN([1, 8], channels=4, layers=1, radial=4, cutoff=3.0, kernels="reference")
    return model.to(device, torch.float64).requires_grad_(False)


def looked_at(systems: Systems, model: PaiNN, steps: int) -> torch.Tensor:
    """Forces after some steps of the usual dynamics, with a list made at every step."""
    surface, integrator, noise = Surface(model, systems, 0.0, [0]), VelocityVerlet(STEP), torch.Generator()
    forces = surface()
    for _ in range(steps):
        integrator.begin(systems, forces, noise)
        forces = surface()
        integrator.finish(systems, forces)
    return forces


@pytest.mark.parametrize(("periodic", "skin", "lists"), [(False, 1.0, 1), (True, 0.03, 3)], ids=["all pairs", "skin"])
def test_the_trajectory_is_that_of_looking_at_every_step(device, periodic, skin, lists):
    """Several steps between two looks; lists that end within them, and the steps are taken again."""
    model, truth, systems = student(device), moving(device, periodic), moving(device, periodic)
    expected = looked_at(truth, model, 3)
    dynamics = RecordedDynamics(model, systems, STEP, skin)
    dynamics.run(3)
    torch.testing.assert_close(systems.positions, truth.positions, rtol=0, atol=1e-11)
    torch.testing.assert_close(systems.velocities, truth.velocities, rtol=0, atol=1e-11)
    torch.testing.assert_close(dynamics.forces, expected.forces, rtol=0, atol=1e-9)
    torch.testing.assert_close(dynamics.energy, expected.energy[:, 0], rtol=0, atol=1e-10)
    assert dynamics.builds == lists


def test_steps_that_are_too_long_are_refused(device):
    with pytest.raises(InputError, match="shorten the time step"):
        RecordedDynamics(student(device), moving(device, periodic=True, speed=5.0), STEP, skin=0.1).run(4)
