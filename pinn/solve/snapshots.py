"""Pictures of the collocation points over time: a few small files that the report reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file, save
from torch import Tensor

from pinn.solve.results import PointSnapshot
from pinn.solve.stage import SolveStage
from training.files import write_atomically

FOLDER = "points"


class PointDiary:
    """Keeps the points of a stage where it begins and, if they move, at evenly spaced steps of it.

    A run that is repeated from a checkpoint writes the same files again.

    Args:
        folder: of the run.
        stages: all of them.
        limit: moments to keep, over all stages; 0 keeps none.
    """

    def __init__(self, folder: Path, stages: Mapping[str, SolveStage], limit: int) -> None:
        self.folder = folder / FOLDER
        self.share = max(limit // len(stages), 1) if limit else 0
        self.lengths = {name: stage.steps for name, stage in stages.items()}
        self.names = list(stages)

    def due(self, stage: str, step: int, changed: bool, former: int) -> bool:
        """Whether these points are to be kept.

        Args:
            stage: its name.
            step: of the stage, counted from 0.
            changed: whether the points have just moved.
            former: the step at which they were kept last, −1 before.
        """
        if not self.share:
            return False
        interval = max(self.lengths[stage] / self.share, 1.0)
        return former < 0 or (changed and step // interval > former // interval)

    def keep(self, stage: str, step: int, total: int, points: Tensor, weights: Tensor) -> None:
        """Write one moment.

        Args:
            stage, step: see `due`.
            total: the step counted over all stages.
            points: (n, d).
            weights: (n,).
        """
        name = f"{self.names.index(stage):02d}-{step:08d}-{total:08d}.safetensors"
        content = save({"points": points.contiguous(), "weights": weights.contiguous()})
        self.folder.mkdir(exist_ok=True)

        def write(path: Path) -> None:
            path.write_bytes(content)

        write_atomically(self.folder / name, write)

    def read(self) -> tuple[PointSnapshot, ...]:
        """All moments in order."""
        found = []
        for path in sorted(self.folder.glob("*.safetensors")):
            match = re.fullmatch(r"(\d+)-(\d+)-(\d+)", path.stem)
            if match is None or int(match[1]) >= len(self.names):
                continue
            tensors = load_file(path)
            weights = tensors["weights"]
            same = bool((weights == weights[0]).all())
            name = self.names[int(match[1])]
            found.append(
                PointSnapshot(int(match[3]), name, tensors["points"].numpy(), None if same else weights.numpy())
            )
        return tuple(found)
