"""All members trained at once: one loss for each, one Adam for all, members that fail counted and left behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from pinn.ensembles.driven import DrivenProblem
from pinn.ensembles.paths import Paths
from pinn.ensembles.stacked import StackedMLP
from pinn.residuals import PreparedPoints, fields_at, prepare
from pinn.solve.system import System
from training.errors import ConfigurationError
from training.files import write_atomically
from training.schedules import Cosine
from training.settings import Settings

STATE = "ensemble.ckpt"


class EnsembleTraining(Settings):
    """The group ``training``: Adam with a learning rate that falls along a cosine."""

    steps: int = Field(default=2000, ge=1)
    """Optimizer steps."""

    points: int = Field(default=128, ge=1)
    """Collocation points, the same for all members."""

    every: int = Field(default=200, ge=1)
    """Steps between new points."""

    lr: float = Field(default=5e-3, gt=0)
    """Learning rate at its highest."""

    warmup_steps: int = Field(default=50, ge=0)
    """Steps in which it rises."""

    final: float = Field(default=0.02, ge=0, le=1)
    """Factor on the learning rate at the end."""

    precision: int = Field(default=64)
    """64 or 32: type of the weights."""

    log_every: int = Field(default=50, ge=1)
    """Steps between logged values."""


@dataclass
class Failures:
    """Which members are lost, and since when.

    Attributes:
        since: (members,) int64: the step at which the loss of a member was first not finite; −1 for a sound one.
    """

    since: Tensor

    @property
    def sound(self) -> Tensor:
        """(members,) bool."""
        return self.since < 0

    def in_words(self) -> dict[int, str]:
        """What became of the lost members, by their number."""
        lost = (~self.sound).nonzero().flatten().tolist()
        return {member: f"loss not finite at step {int(self.since[member])}" for member in lost}


class Ensemble:
    """K stacked networks, each with the equation under its own path.

    Args:
        problem: all conditions hard.
        paths: one for each member.
        network: of as many members.
        settings: of the training.
        seed: of the points.
        device: where to compute.

    Attributes:
        network, failures: as they stand.
        step: steps done.

    Raises:
        ConfigurationError: if a condition of the problem is learned, or numbers of members differ.
    """

    def __init__(
        self,
        problem: DrivenProblem,
        paths: Paths,
        network: StackedMLP,
        settings: EnsembleTraining,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        if problem.soft_conditions:
            names = ", ".join(condition.name for condition in problem.soft_conditions)
            raise ConfigurationError(f"Members of an ensemble have hard conditions only; {names} would be learned.")
        if len(paths) != network.members:
            raise ConfigurationError(f"{len(paths)} paths for {network.members} networks.")
        self.problem, self.paths, self.settings, self.seed = problem, paths, settings, seed
        self.system = System(problem)
        self.network = network.to(device=device, dtype=torch.float64 if settings.precision == 64 else torch.float32)
        self.optimizer = torch.optim.Adam(network.parameters(), lr=settings.lr)
        self.schedule = Cosine(settings.warmup_steps, settings.final)
        self.failures = Failures(torch.full((network.members,), -1, dtype=torch.int64, device=device))
        self.step = 0
        self._block: tuple[int, PreparedPoints] | None = None

    def losses(self, prepared: PreparedPoints) -> Tensor:
        """Mean squared residual of every member, summed over equations: (members,), with graph."""
        self.problem.paths = self.paths
        residuals = self.problem.residuals(fields_at(self.network, prepared), prepared.columns)  # type: ignore[arg-type]
        squares = [residual.reshape(self.network.members, -1).square().mean(dim=1) for residual in residuals.values()]
        return squares[0] if len(squares) == 1 else torch.stack(squares).sum(dim=0)

    def advance(self) -> Tensor:
        """One step of Adam for every member; the losses before it (members,)."""
        losses = self.losses(self.points())
        factor = self.schedule.factor(self.step, self.settings.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.lr * factor
        self.optimizer.zero_grad(set_to_none=True)
        # the gradient of the sum has the gradient of each member where that member's weights are
        losses.sum().backward()
        self.optimizer.step()
        losses = losses.detach()
        since = self.failures.since
        since.masked_fill_(~losses.isfinite() & (since < 0), self.step)
        self.step += 1
        return losses

    def points(self) -> PreparedPoints:
        """Those of this step, a pure function of the seed and the step."""
        block = self.step // self.settings.every
        if self._block is None or self._block[0] != block:
            generator = torch.Generator().manual_seed(self.seed + 1_000_003 * block)
            points = self.problem.domain.sample(self.settings.points, generator, "sobol")
            self._block = (block, self.prepared(points))
        return self._block[1]

    def prepared(self, points: Tensor) -> PreparedPoints:
        """Points (n, d) made ready, repeated for every member."""
        rows = points.repeat(self.network.members, 1)
        return prepare(self.problem, self.network, rows, self.system.layout)  # type: ignore[arg-type]

    def values(self, points: Tensor) -> Tensor:
        """The first field of every member at points (n, d): (members, n), without graph."""
        with torch.no_grad():
            fields = fields_at(self.network, self.prepared(points))  # type: ignore[arg-type]
        return fields[self.problem.fields[0]].value.reshape(self.network.members, -1)

    def train(self, on_step: Callable[[int, Tensor], None]) -> None:
        """Steps until all are done; ``on_step`` gets their number and the losses, and may raise to stop."""
        while self.step < self.settings.steps:
            losses = self.advance()
            on_step(self.step, losses)

    def save(self, folder: Path) -> None:
        """Write what a later process goes on from, in one atomic step."""
        state = {
            "step": self.step,
            "since": self.failures.since,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        write_atomically(folder / STATE, lambda path: torch.save(state, path))

    def restore(self, folder: Path) -> bool:
        """Go on from where an earlier process has saved; whether there was anything."""
        path = folder / STATE
        if not path.exists():
            return False
        state: Mapping[str, Any] = torch.load(path, weights_only=True, map_location=self.failures.since.device)
        self.step = int(state["step"])
        self.failures = Failures(state["since"])
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        return True
