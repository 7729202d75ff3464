"""A small half whose module takes its steps itself: Adam, then L-BFGS, on a fixed set of points.

Run as a script it trains in a folder: ``python toy_blocks.py ROOT [key=value …]``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.utils.data import DataLoader
from toy_half import toy_config

from training.blocks import BlockModule
from training.context import RunContext, RunSettings
from training.run import fit_stages, main
from training.stages import Stage


class BlockSettings(RunSettings):
    stages: dict[str, Stage]
    stop_below: float = 0.0
    bad_step: int | None = None


class BlockData:
    """The same points in every block, and in the validation."""

    def __init__(self) -> None:
        x = torch.linspace(-1, 1, 40, dtype=torch.float64)[:, None]
        self.points = {"x": x, "y": torch.sin(3 * x)}

    def enter_stage(self, stage: Stage) -> None:
        pass

    def batch_done(self) -> None:
        pass

    def train_dataloader(self) -> DataLoader:
        return DataLoader([self.points], batch_size=None)

    def val_dataloader(self) -> DataLoader:
        return DataLoader([self.points], batch_size=None)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        pass


class ToyBlocks(BlockModule):
    def __init__(self, settings: BlockSettings, folder: Path) -> None:
        super().__init__(nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1)))
        self.settings, self.folder = settings, folder
        self.last = float("inf")

    def advance(self, batch: Any) -> Mapping[str, Tensor]:
        optimizer = self.optimizers(use_pl_optimizer=False)
        seen: list[Tensor] = []

        def closure() -> Tensor:
            optimizer.zero_grad()
            # noise from the global stream: the order of all draws must survive a restart
            x = batch["x"] + 0.01 * torch.randn(len(batch["x"]), 1, dtype=torch.float64)
            square = (self.model(x.to(next(self.parameters()).dtype)) - batch["y"]).square().mean()
            if self.settings.bad_step == self.trainer.global_step:
                square = square * torch.nan
            square.backward()
            seen.append(square.detach())
            return square

        optimizer.step(closure)
        self.lr_schedulers().step()
        self.learning_rate = optimizer.param_groups[0]["lr"]
        with (self.folder / "steps.txt").open("a") as file:
            print(self.stage_name, self.trainer.global_step, file=file)
        self.last = float(seen[0])
        return {"loss": seen[0], "square": seen[0]}

    def configure_optimizers(self) -> Any:
        chosen = super().configure_optimizers() if self.stage_name == "first" else None
        if chosen is not None:
            return chosen
        optimizer = torch.optim.LBFGS(self.model.parameters(), max_iter=4, line_search_fn="strong_wolfe")
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": torch.optim.lr_scheduler.ConstantLR(optimizer)}}

    def set_total_steps(self, steps: int) -> None:
        self.total_steps = steps

    def stop_reason(self) -> str | None:
        return f"the loss {self.last:.3g} is low enough" if self.last < self.settings.stop_below else None

    def figures(self) -> dict[str, float]:
        return {"size/first": float(next(self.parameters()).detach().abs().sum())}

    def validation_sums(self, model: nn.Module, batch: Any) -> dict[str, tuple[Tensor, int]]:
        error = model(batch["x"].to(next(model.parameters()).dtype)) - batch["y"]
        return {"mse": (error.square().sum(), error.numel())}


def run(settings: BlockSettings, context: RunContext) -> ToyBlocks:
    module = ToyBlocks(settings, context.folder.path)
    fit_stages(module, BlockData(), settings.stages, context)
    return module


def blocks_config(root: Path, *overrides: str) -> DictConfig:
    """Adam in float64, then L-BFGS in float32; 30 and 6 steps."""
    config = toy_config(root)
    del config["stages"]
    stage = {
        "steps": 30,
        "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.02},
        "schedule": {"_target_": "training.schedules.Cosine", "warmup_steps": 3},
        "precision": "64",
        "loss_weights": {"square": 1.0},
        "ema_decay": 0.9,
        "validate_every": 7,
        "log_every": 4,
    }
    second = {**stage, "steps": 6, "precision": "32", "ema_decay": None, "validate_every": 100}
    blocks = {
        "half": {"pipeline": "toy_blocks.run", "settings": "toy_blocks.BlockSettings"},
        "stages": {"first": stage, "second": second},
    }
    return OmegaConf.merge(config, blocks, OmegaConf.from_dotlist(list(overrides)))


if __name__ == "__main__":
    sys.modules["toy_blocks"] = sys.modules["__main__"]
    sys.exit(main(blocks_config(Path(sys.argv[1]), *sys.argv[2:]), halves=("toy_blocks.",)))
