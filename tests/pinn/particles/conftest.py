"""The first use of a numba kernel after a change of its code compiles it; doing that here keeps tests within time."""

import pytest
import torch

from pinn.particles.density import density


@pytest.fixture(scope="session", autouse=True)
def compiled_kernels():
    two = torch.tensor([0.0, 1.0], dtype=torch.float64)
    density(two, two, 0.5)
    density(two, two, 0.5, weights="linear")
