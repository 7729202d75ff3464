"""The singular flow in the cavity's ansatz is that of its reference, and incompressible."""

import numpy as np
import pytest
import torch

from pinn.jets.jet import Jet
from pinn.jets.layout import JetLayout
from pinn.problems.lid_driven_cavity import LidDrivenCavity
from pinn.problems.lid_end_flow import flow_at_lid_ends
from pinn.references.lid_end import LidEnd

REYNOLDS = 100.0


@pytest.fixture
def points():
    return torch.rand(300, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_is_the_flow_of_the_reference(points):
    found = flow_at_lid_ends(points[:, 0], points[:, 1], REYNOLDS)
    x, y = points.numpy().T
    ends = [LidEnd(side, REYNOLDS) for side in (1, -1)]
    expected = {
        "u": sum(end.slopes(x, y)[1] for end in ends),
        "v": -sum(end.slopes(x, y)[0] for end in ends),
        "p": sum(end.pressure(x, y) for end in ends),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(found[name].numpy(), value, rtol=0, atol=1e-13 * np.abs(value).max())


@pytest.mark.parametrize("distance", [1.0, 1e-3])
def test_is_incompressible_up_to_the_end_of_the_lid(points, distance):
    layout = JetLayout(("x", "y"), [("x", "x"), ("y", "y"), ("x", "y")])
    near = torch.stack([distance * points[:, 0], 1 - distance * points[:, 1]], dim=1)
    flow = LidDrivenCavity(reynolds=REYNOLDS).lift(**Jet.coordinates(layout, near))
    divergence = flow["u"]["x"] + flow["v"]["y"]
    assert divergence.abs().max() <= 1e-12 * flow["u"]["x"].abs().max()
