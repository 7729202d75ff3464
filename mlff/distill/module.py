"""Distillation of a teacher's labels into a student, for Lightning."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch

from mlff.distill.stage import ERRORS, DistillStage
from mlff.graph import AtomGraph
from mlff.student.painn import PaiNN, Prediction
from training.configuration import instantiate
from training.module import StagedModule
from training.stages import Stage

MEV = 1000.0

METRICS = {
    "forces": ("force", "meV_per_A"),
    "energy": ("energy", "meV_per_atom"),
    "energies": ("atom_energy", "meV"),
    "stress": ("stress", "meV_per_A3"),
}
"""Quantity and unit in the names of the logged errors, by loss term."""


class Distillation(StagedModule):
    """Losses on energy, forces, per-atom energies and stress, and errors on the validation set in physical units.

    Forces come out of the student's forward pass, so a force loss needs a single backward.

    Args:
        model: the student, with its reference energies set.
        has_energies: whether every label has per-atom energies.
        has_stress: whether every label has a stress.
    """

    model: PaiNN

    def __init__(self, model: PaiNN, has_energies: bool = False, has_stress: bool = False) -> None:
        super().__init__(model)
        self.has_energies, self.has_stress = has_energies, has_stress
        self._error = None

    def enter_stage(self, name: str, stage: Stage) -> None:
        """See `StagedModule.enter_stage`; takes the shape of the errors too."""
        super().enter_stage(name, stage)
        assert isinstance(stage, DistillStage)
        self._error = instantiate(stage.error, ERRORS)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The terms that the stage weights, each as this micro-batch's part of the mean over its accumulation group."""
        assert self.stage is not None and self._error is not None
        weights = {name: weight for name, weight in self.stage.loss_weights.items() if weight > 0}
        graph = AtomGraph.from_batch(batch)
        prediction = self.model(graph, stress="stress" in weights)
        differences = self._differences(prediction, graph, batch)
        structures, atoms = batch.group_structures.sum(), batch.group_atoms.sum()
        counts = {"energy": structures, "forces": 3 * atoms, "energies": atoms, "stress": 9 * structures}
        return {name: self._error(differences[name]).sum() / counts[name] for name in weights if name in differences}

    def validation_sums(self, model: nn.Module, batch: Batch) -> dict[str, tuple[Tensor, Tensor | float]]:
        """Sums of absolute and squared errors, in meV, meV/Å and meV/Å³."""
        graph = AtomGraph.from_batch(batch)
        differences = self._differences(model(graph, stress=self.has_stress), graph, batch)
        sums: dict[str, tuple[Tensor, Tensor | float]] = {}
        for name, difference in differences.items():
            sums[f"{name}_mae"] = ((MEV * difference).abs().sum(), float(difference.numel()))
            sums[f"{name}_mse"] = ((MEV * difference).square().sum(), float(difference.numel()))
        return sums

    def validation_metrics(self, means: dict[str, float]) -> dict[str, float]:
        """Mean absolute and root mean square errors, units in the names."""
        metrics = {}
        for term, name in METRICS.items():
            if f"{term}_mae" in means:
                quantity, unit = name
                metrics[f"{quantity}_mae_{unit}"] = means[f"{term}_mae"]
                metrics[f"{quantity}_rmse_{unit}"] = means[f"{term}_mse"] ** 0.5
        return metrics

    def describe(self, metrics: Mapping[str, float]) -> str:
        """Force and energy error on one line."""
        return (
            f"validation forces {metrics['force_mae_meV_per_A']:.1f} meV/Å, "
            f"energy {metrics['energy_mae_meV_per_atom']:.2f} meV/atom (mean absolute errors)"
        )

    def _differences(self, prediction: Prediction, graph: AtomGraph, batch: Batch) -> dict[str, Tensor]:
        """Prediction minus label of every term that has labels; the energy per atom."""
        atoms = torch.bincount(graph.structure_index, minlength=graph.n_structures)
        differences = {
            "energy": (prediction.energy - batch.energy) / atoms,
            "forces": prediction.forces - batch.forces,
        }
        if self.has_energies:
            differences["energies"] = prediction.energies - batch.energies
        if self.has_stress and prediction.stress is not None:
            differences["stress"] = prediction.stress - batch.stress
        return differences
