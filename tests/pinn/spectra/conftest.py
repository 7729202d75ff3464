"""One small atmosphere, its templates and an emulator trained on them in a few seconds, for all tests of this room."""

from __future__ import annotations

import pytest
import torch

from pinn.spectra.settings import AtmosphereSettings, EmulatorSettings
from pinn.spectra.training import finished, make_templates, untrained
from training.optimizers.soap import SOAP

ATMOSPHERE = AtmosphereSettings(first=4000.0, last=4250.0, pixels=400, padding=18, lines=24)
NETWORK = {"_target_": "pinn.networks.MLP", "width": 32, "depth": 2, "activation": "silu"}


@pytest.fixture(scope="session")
def templates():
    """400 templates of 24 lines on 400 pixels."""
    return make_templates(ATMOSPHERE, EmulatorSettings(templates=400, held_out=80, components=24), 0)


@pytest.fixture(scope="session")
def emulator(templates):
    """An emulator good to about 3e-4, and what it says of its accuracy."""
    torch.manual_seed(0)
    module = untrained(templates, NETWORK, 0)
    model, steps = module.model.float(), 400
    optimizer = SOAP(model.parameters(), lr=1e-2)
    labels, targets = templates.labels[:400].float(), templates.targets[:400].float()
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 1e-2 * (1 - step / steps)
        loss = (model(labels) - targets).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    module.average.restart(module.model.double())
    return finished(module, templates)
