"""Worker of `train_step.py`: optimisation steps on energies and forces through Lightning, of ours or of a peer.

python train_worker.py THREADS limbeck | schnetpack | graph_pes
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any, ClassVar, Protocol, cast

import numpy as np
import pytorch_lightning as pl
import torch
from ase import Atoms
from ase.build import molecule
from md_worker import CHANNELS, CUTOFF, ELEMENTS, LAYERS, RADIAL, graph_pes_network, schnetpack_network
from peers import CLOCKS, Answer, peak_MB, serve
from torch.utils.data import DataLoader

BATCHES = 4
"""Different batches, taken in turn."""

RATE, DECAY, CLIP = 1e-4, 0.995, 10.0


def labelled(size: int) -> list[list[tuple[Atoms, float, np.ndarray]]]:
    """Batches of shaken ethanol with made-up labels, the same on both sides: structures, eV, eV/Å."""
    rng = np.random.default_rng(0)
    batches = []
    for _ in range(BATCHES):
        batch = []
        for _ in range(size):
            atoms = molecule("CH3CH2OH")
            atoms.rattle(0.05, rng=rng)
            batch.append((atoms, float(rng.normal()), rng.normal(size=(len(atoms), 3))))
        batches.append(batch)
    return batches


class Clock(pl.Callback):
    """Seconds of every step, from the batch that is there to the weights that have moved."""

    def __init__(self, clock: str) -> None:
        self.now = CLOCKS[clock]
        self.seconds: list[float] = []

    def on_train_batch_start(self, *_: Any) -> None:
        self.start = self.now()

    def on_train_batch_end(self, *_: Any) -> None:
        self.seconds.append(self.now() - self.start)


class StepDone(pl.Callback):
    """What our own loop does after a step: the average of the weights, the look at the losses."""

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, *_: Any) -> None:
        module.step_done()


class Side(Protocol):
    """A task with its callbacks and Lightning's settings, and batches for it."""

    module: Any
    callbacks: list[pl.Callback]
    settings: dict[str, Any]

    def batches(self, size: int) -> list[Any]:
        """Ready batches, neighbour lists included."""


class Limbeck:
    """Our stage with its defaults."""

    def __init__(self) -> None:
        from mlff.distill.module import Distillation
        from mlff.distill.stage import DistillStage
        from mlff.student import PaiNN

        stage = DistillStage(
            steps=10**9,
            optimizer={"_target_": "torch.optim.AdamW", "lr": RATE, "weight_decay": 0.01, "fused": True},
            clip=CLIP,
            ema_decay=DECAY,
            loss_weights={"energy": 1.0, "forces": 10.0},
            error={"_target_": "mlff.distill.losses.Squared"},
        )
        model = PaiNN(ELEMENTS, CHANNELS, LAYERS, RADIAL, CUTOFF, basis="GaussianBasis", envelope="CosineCutoff")
        self.module = Distillation(model)
        self.module.enter_stage("benchmark", stage)
        self.callbacks: list[pl.Callback] = [StepDone()]
        self.settings: dict[str, Any] = {"gradient_clip_val": CLIP}

    def batches(self, size: int) -> list[Any]:
        """Ready batches, neighbour lists included."""
        from mlff.data.dataset import collate, to_sample

        found = []
        for structures in labelled(size):
            samples = []
            for atoms, energy, forces in structures:
                sample = to_sample(atoms, CUTOFF, with_labels=False)
                samples.append(sample | {"energy": np.array([energy]), "forces": forces})
            batch = collate(samples)
            batch.group_structures = torch.tensor([len(samples)])
            batch.group_atoms = torch.tensor([len(batch.pos)])
            found.append(batch)
        return found


class SchNetPack:
    """SchNetPack's task with the optimizer and the average of its own MD17 experiment; it does not clip."""

    def __init__(self) -> None:
        import recent_torch  # noqa: F401
        from schnetpack.task import AtomisticTask, ModelOutput
        from schnetpack.train import ExponentialMovingAverage

        network = schnetpack_network()
        outputs = [
            ModelOutput(name=name, loss_fn=torch.nn.MSELoss(), loss_weight=weight, metrics={})
            for name, weight in (("energy", 0.01), ("forces", 0.99))
        ]
        self.module = AtomisticTask(
            model=network, outputs=outputs, optimizer_cls=torch.optim.AdamW, optimizer_args={"lr": RATE}
        )
        self.callbacks: list[pl.Callback] = [ExponentialMovingAverage(decay=DECAY)]
        self.settings: dict[str, Any] = {}

    def batches(self, size: int) -> list[Any]:
        """Ready batches, neighbour lists included."""
        from schnetpack import properties
        from schnetpack.data.loader import _atoms_collate_fn
        from schnetpack.interfaces import AtomsConverter
        from schnetpack.transform import MatScipyNeighborList

        converter = AtomsConverter(neighbor_list=MatScipyNeighborList(cutoff=CUTOFF), device="cpu", dtype=torch.float32)
        found = []
        for structures in labelled(size):
            inputs = []
            for atoms, energy, forces in structures:
                one = {name: value for name, value in converter(atoms).items() if name != properties.idx_m}
                inputs.append(
                    one | {"energy": torch.tensor([energy]).float(), "forces": torch.from_numpy(forces).float()}
                )
            found.append(_atoms_collate_fn(inputs))
        return found


class GraphPes(pl.LightningModule):
    """graph-pes' model and its own loss, with plain AdamW: it has no average of the weights and does not clip here."""

    callbacks: ClassVar[list[pl.Callback]] = []
    settings: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.model = graph_pes_network()

    @property
    def module(self) -> pl.LightningModule:
        """The task itself."""
        return self

    def training_step(self, graph: Any, _: int) -> torch.Tensor:
        """The same weighted squares as the other sides'."""
        found = self.model.predict(graph, properties=["energy", "forces"])
        squares = {name: (found[name] - graph.properties[name]).square().mean() for name in ("energy", "forces")}
        return 0.01 * squares["energy"] + 0.99 * squares["forces"]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW at the rate of the other sides."""
        return torch.optim.AdamW(self.model.parameters(), lr=RATE)

    def batches(self, size: int) -> list[Any]:
        """Ready batches, neighbour lists included."""
        from graph_pes.atomic_graph import AtomicGraph, to_batch

        found = []
        for structures in labelled(size):
            graphs = []
            for atoms, energy, forces in structures:
                atoms.info["energy"], atoms.arrays["forces"] = energy, forces
                graphs.append(AtomicGraph.from_ase(atoms, CUTOFF))
            found.append(to_batch(graphs))
        return found


class Steps:
    """One side, which keeps its weights and its batches from request to request."""

    def __init__(self, side: str) -> None:
        torch.manual_seed(0)
        sides: dict[str, Callable[[], Side]] = {"limbeck": Limbeck, "schnetpack": SchNetPack, "graph_pes": GraphPes}
        self.side = sides[side]()
        self.ready: dict[int, DataLoader] = {}

    def __call__(self, size: int, steps: int, warm: int, clock: str) -> Answer:
        """Seconds of each of some steps with batches of a size, after some that do not count."""
        if size not in self.ready:
            self.ready[size] = DataLoader(cast("Any", self.side.batches(size)), batch_size=None)
        timer = Clock(clock)
        trainer = pl.Trainer(
            accelerator="cpu",
            max_steps=warm + steps,
            max_epochs=-1,
            callbacks=[*self.side.callbacks, timer],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **self.side.settings,
        )
        trainer.fit(self.side.module, self.ready[size])
        return {"seconds": timer.seconds[warm:], "peak_MB": peak_MB()}


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    torch.set_num_threads(int(sys.argv[1]))
    serve(Steps(sys.argv[2]))
