"""Energy, forces and stress by automatic differentiation: slow, obviously right, and only here to be compared with."""

from __future__ import annotations

from dataclasses import replace

import torch

from mlff.graph import AtomGraph
from mlff.student.painn import PaiNN, Prediction


def predict_by_autograd(model: PaiNN, graph: AtomGraph, create_graph: bool = False) -> Prediction:
    """The same prediction as ``model(graph, stress=True)``, by differentiating the energy.

    The stress differentiates with respect to a strain ε applied to positions and cells: ``x → x (1 + ε)``.

    Args:
        model: the network.
        graph: the batch.
        create_graph: keep the graph, for the parameter gradients of a force loss.
    """
    identity = torch.eye(3, dtype=graph.positions.dtype, device=graph.positions.device)
    positions = graph.positions.detach().requires_grad_(True)
    strain = torch.zeros_like(graph.cell).requires_grad_(True)
    deformation = identity + strain
    strained = replace(
        graph,
        positions=torch.einsum("nc,ncd->nd", positions, deformation[graph.structure_index]),
        cell=graph.cell @ deformation,
    )
    energies = model.energies(strained)
    gradient, virial = torch.autograd.grad(energies.sum(), [positions, strain], create_graph=create_graph)
    energy = energies.new_zeros(graph.n_structures).index_add(0, graph.structure_index, energies)
    volume = torch.linalg.det(graph.cell).abs().reshape(-1, 1, 1)
    symmetric = 0.5 * (virial + virial.transpose(-1, -2))
    stress = torch.where(volume > 0, symmetric / volume.clamp(min=1e-30), 0.0)
    return Prediction(energy, -gradient, energies, stress)
