"""The optimizers on what they are for: a small tanh network in double precision, alone and inside Lightning."""

import math

import pytest
import pytorch_lightning as pl
import torch

from training.configuration import instantiate
from training.optimizers import FunctionResiduals, GaussNewton, SSBroyden
from training.stages import OPTIMIZERS, Stage

POINTS = torch.linspace(-1, 1, 120, dtype=torch.float64)[:, None]
WAVE = torch.sin(3 * math.pi * POINTS) + 0.3 * torch.cos(7 * POINTS)


def network(seed=0, width=20):
    torch.manual_seed(seed)
    layers = [torch.nn.Linear(1, width), torch.nn.Tanh(), torch.nn.Linear(width, width), torch.nn.Tanh()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(width, 1)).double()


class WaveResiduals(FunctionResiduals):
    """``(network(x) − wave) / sqrt(N)``; each residual depends on one point, so its row of J is one small backward."""

    def __init__(self, parameters):
        super().__init__(lambda values: (self.outputs(POINTS, values) - WAVE)[:, 0] / len(POINTS) ** 0.5, parameters)

    @staticmethod
    def outputs(x, values):
        w1, b1, w2, b2, w3, b3 = values
        return torch.tanh(torch.tanh(x @ w1.T + b1) @ w2.T + b2) @ w3.T + b3

    def jacobian(self):
        point = self._point()
        row = torch.func.grad(lambda x, *values: self.outputs(x, values)[0] / len(POINTS) ** 0.5, tuple(range(1, 7)))
        parts = torch.vmap(row, in_dims=(0,) + (None,) * 6)(POINTS, *point)
        return self.residuals(), torch.cat([part.flatten(1) for part in parts], dim=1)


@pytest.mark.parametrize("seed", [0, 1])
def test_ssbroyden_fits_a_wave_to_1e_8_in_600_steps(seed):
    model = network(seed)
    optimizer = SSBroyden(model.parameters())

    def closure():
        optimizer.zero_grad()
        loss = (model(POINTS) - WAVE).square().mean()
        loss.backward()
        return loss

    loss = next((value for _ in range(600) if (value := float(optimizer.step(closure))) < 1e-8), None)
    assert loss is not None
    # most first trials are accepted: this is where the time of a step goes
    assert optimizer.evaluations < 1.5 * optimizer.memory["iterations"]


@pytest.mark.parametrize("arguments", [{}, {"solver": "dense"}, {"metric": "marquardt"}], ids=str)
def test_gauss_newton_fits_a_wave_to_1e_8_in_150_steps(arguments):
    model = network()
    optimizer = GaussNewton(model.parameters(), **arguments)
    problem = WaveResiduals(list(model.parameters()))
    assert any(float(optimizer.step(problem)) < 1e-8 for _ in range(150))
    assert float((model(POINTS) - WAVE).square().mean()) < 1e-8


class Wave(pl.LightningModule):
    """A module that makes its steps by hand."""

    def __init__(self, second_order):
        super().__init__()
        self.automatic_optimization = False
        self.model = network(width=6)
        self.second_order = second_order
        self.losses = []

    def configure_optimizers(self):
        kind = GaussNewton if self.second_order else SSBroyden
        return kind(self.model.parameters())

    def training_step(self, batch, index):
        optimizer = self.optimizers()

        def closure():
            if self.second_order:
                return WaveResiduals(list(self.model.parameters()))
            optimizer.zero_grad()
            loss = (self.model(POINTS) - WAVE).square().mean()
            self.manual_backward(loss)
            return loss

        self.losses.append(float(optimizer.step(closure=closure)))


@pytest.mark.parametrize("second_order", [False, True], ids=["SSBroyden", "GaussNewton"])
def test_a_lightning_checkpoint_continues_bit_for_bit(second_order, tmp_path):
    def train(steps, checkpoint=None, save=None):
        module = Wave(second_order)
        trainer = pl.Trainer(
            max_steps=steps,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
        )
        trainer.fit(module, [0] * 100, ckpt_path=checkpoint, weights_only=True)
        if save:
            trainer.save_checkpoint(save)
        return module

    whole = train(12)
    train(5, save=tmp_path / "half.ckpt")
    resumed = train(12, checkpoint=tmp_path / "half.ckpt")
    assert resumed.losses == whole.losses[5:]
    assert all(map(torch.equal, resumed.model.state_dict().values(), whole.model.state_dict().values()))


def test_they_are_built_by_name():
    for name in ("SSBroyden", "GaussNewton", "SOAP"):
        spec = {"_target_": f"training.optimizers.{name}", "lr": 1e-2}
        optimizer = instantiate(spec, OPTIMIZERS, params=list(network().parameters()))
        assert type(optimizer).__name__ == name
        assert getattr(optimizer, "closure", None) == {"SSBroyden": "loss", "GaussNewton": "least_squares"}.get(name)


def test_a_stage_accepts_the_library_of_soap_itself():
    assert Stage(steps=1, optimizer={"_target_": "pytorch_optimizer.SOAP"}, loss_weights={"equation": 1.0}).steps == 1
