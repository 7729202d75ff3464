"""A small half with everything that can go wrong on resume: dropout, noise in the data, epochs of uneven length.

Run as a script it trains in a folder: ``python toy_half.py ROOT [key=value …]``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from training.context import RunContext, RunSettings
from training.errors import GateFailed
from training.module import StagedModule
from training.run import fit_stages, main
from training.stages import Stage


class ToyStage(Stage):
    batch_size: int = 4


class ToySettings(RunSettings):
    stages: dict[str, ToyStage]
    sleep: float = 0.0
    fail_gate: bool = False
    bad_step: int | None = None


class Waves(Dataset):
    def __init__(self, count: int, noise: float) -> None:
        generator = np.random.default_rng(5)
        self.x = torch.from_numpy(generator.normal(size=(count, 3)))
        self.kind = torch.from_numpy(generator.integers(0, 2, size=count))
        self.y = torch.sin(self.x.sum(1)) + self.kind
        self.noise = noise

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        # a draw from the global stream: the order of all draws must survive a restart
        noise = self.noise * torch.randn((), dtype=torch.float64)
        return {"x": self.x[index], "kind": self.kind[index], "y": self.y[index] + noise, "index": torch.tensor(index)}


class UnevenSampler(Sampler):
    """Groups of ``accumulate`` batches; how many an epoch has depends on the epoch."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed
        self.epoch = self.position = 0
        self.batch_size = self.accumulate = 1

    def batches(self) -> list[list[int]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.count)
        order = order[self.epoch % 3 :]
        size = self.batch_size
        batches = [order[i : i + size].tolist() for i in range(0, len(order) - size + 1, size)]
        return batches[: len(batches) // self.accumulate * self.accumulate]

    def __iter__(self) -> Iterator[list[int]]:
        yield from self.batches()[self.position :]

    def advance(self) -> None:
        self.position += 1
        if self.position >= len(self.batches()):
            self.epoch, self.position = self.epoch + 1, 0


class ToyData(pl.LightningDataModule):
    def __init__(self, seed: int, noise: float = 0.1) -> None:
        super().__init__()
        self.dataset, self.held_out = Waves(38, noise), Waves(10, 0.0)
        self.sampler = UnevenSampler(38, seed)

    def enter_stage(self, stage: ToyStage) -> None:
        self.sampler.batch_size, self.sampler.accumulate = stage.batch_size, stage.accumulate
        self.sampler.position = 0

    def batch_done(self) -> None:
        self.sampler.advance()

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.dataset, batch_sampler=self.sampler)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.held_out, batch_size=5)

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.sampler.epoch, "position": self.sampler.position}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.sampler.epoch, self.sampler.position = state_dict["epoch"], state_dict["position"]


class ToyNetwork(nn.Module):
    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        self.kinds = nn.Embedding(2, 3)
        self.layers = nn.Sequential(nn.Linear(3, 16), nn.SiLU(), nn.Dropout(dropout), nn.Linear(16, 1))
        self.register_buffer("offset", torch.tensor(1 / 3, dtype=torch.float64))

    def forward(self, x: Tensor, kind: Tensor) -> Tensor:
        features = x.to(self.kinds.weight.dtype) + self.kinds(kind)
        return self.layers(features).squeeze(-1).double() + self.offset


class ToyModule(StagedModule):
    def __init__(self, settings: ToySettings, folder: Path | None = None, dropout: float = 0.1) -> None:
        super().__init__(ToyNetwork(dropout))
        self.settings, self.folder = settings, folder

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.folder is not None:
            with (self.folder / "order.txt").open("a") as file:
                print(self.stage_name, self.trainer.global_step, *batch["index"].tolist(), file=file)
        time.sleep(self.settings.sleep)
        error = self.model(batch["x"], batch["kind"]) - batch["y"]
        square, size = error.square().mean(), error.abs().mean()
        if self.settings.bad_step == self.trainer.global_step:
            size = size * torch.nan
        return {"square": square / self.stage.accumulate, "size": size / self.stage.accumulate}

    def validation_sums(self, model: nn.Module, batch: dict[str, Tensor]) -> dict[str, tuple[Tensor, int]]:
        error = model(batch["x"], batch["kind"]) - batch["y"]
        return {"mae": (error.abs().sum(), len(error))}


def run(settings: ToySettings, context: RunContext) -> None:
    module = ToyModule(settings, context.folder.path)
    fit_stages(module, ToyData(settings.seed), settings.stages, context)
    context.folder.mark_done("training", module.latest_validation)
    if settings.fail_gate:
        raise GateFailed("The toy gate is not met.")


def toy_config(root: Path, *overrides: str) -> DictConfig:
    """Two stages in different precision, with and without accumulation."""
    adam = {"_target_": "torch.optim.AdamW", "lr": 0.01, "weight_decay": 0.1}
    first = {
        "steps": 12,
        "optimizer": adam,
        "schedule": {"_target_": "training.schedules.Cosine", "warmup_steps": 3},
        "ema_decay": 0.9,
        "clip": 1.0,
        "loss_weights": {"square": 1.0, "size": 0.5},
        "validate_every": 5,
        "log_every": 4,
    }
    second = {**first, "steps": 6, "accumulate": 3, "precision": "64", "batch_size": 3, "validate_every": 4}
    config = {
        "half": {"pipeline": "toy_half.run", "settings": "toy_half.ToySettings"},
        "run": {"experiment": "toy", "name": None, "resume": True, "root": str(root)},
        "seed": 3,
        "hardware": {"device": "cpu", "threads": 1},
        "tracker": {"kind": "none"},
        "checkpoint_seconds": 0,
        "stages": {"first": first, "second": second},
    }
    return OmegaConf.merge(config, OmegaConf.from_dotlist(list(overrides)))


if __name__ == "__main__":
    sys.modules["toy_half"] = sys.modules["__main__"]
    sys.exit(main(toy_config(Path(sys.argv[1]), *sys.argv[2:]), halves=("toy_half.",)))
