"""Smooth functions in the place of a network: to try out equations and conditions before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pinn.fields import Field, JetField
from pinn.jets.jet import Jet
from pinn.jets.layout import JetLayout

if TYPE_CHECKING:
    from pinn.problem import Problem


def parameters_at_start(problem: Problem) -> dict[str, Tensor]:
    """The unknown parameters' initial values, () float64 each."""
    zero = torch.zeros((), dtype=torch.float64)
    return {name: unknown.value(zero) for name, unknown in problem.parameters.items()}


def trial_fields(
    problem: Problem, points: Tensor, layout: JetLayout, amplitude: float = 1.0
) -> tuple[dict[str, Field], dict[str, Any]]:
    """The fields that the ansatz makes of sines in the network's inputs, one after the other out of phase.

    Args:
        problem: whose names and domain are in order.
        points: (n, d) float64.
        layout: derivatives to carry.
        amplitude: of the sines; 0 leaves the lift alone.

    Returns:
        The fields and the factors of the ansatz (None where there is none), by name.
    """
    jets = Jet.coordinates(layout, points)
    inputs = _scaled(problem, problem.network_coordinates(jets))
    terms = problem.ansatz_terms(jets, parameters_at_start(problem))
    constant = next(iter(jets.values())) * 0.0
    found: dict[str, Field] = {}
    for index, name in enumerate(problem.fields):
        phase: Any = constant + 0.7 + index
        for place, value in enumerate(inputs):
            phase = phase + value * (1.3 - 0.6 * place / len(inputs))
        lift, factor = terms[name]
        network: Any = torch.sin(phase) * amplitude
        product = network if factor is None else factor * network
        found[name] = JetField(name, product if lift is None else lift + product, problem.space)
    return found, {name: factor for name, (_, factor) in terms.items()}


def _scaled(problem: Problem, inputs: Mapping[str, Any]) -> list[Any]:
    """Inputs from -1 to 1; the periodic ones wrapped as a network's embedding does."""
    found = []
    for name, value in inputs.items():
        low, high = problem.network_bounds[name]
        if name in problem.periods:
            found.append(torch.sin((value - low) * (2 * torch.pi / problem.periods[name]) + 0.4))
        else:
            found.append((value - low) * (2 / (high - low)) - 1)
    return found
