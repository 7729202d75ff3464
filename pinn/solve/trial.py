"""What is trained: the network, and the unknown parameters of an inverse problem."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pinn.jets.capture import per_point
from pinn.networks import build
from pinn.networks.network import Network
from pinn.problem import Problem


class Trial(nn.Module):
    """A network with one output per field, and one free number θ per unknown parameter.

    Args:
        network: as many inputs as the problem has coordinates, as many outputs as it has fields.
        unknowns: names of the unknown parameters; each θ starts at 0, which means the parameter's initial value.
    """

    def __init__(self, network: Network, unknowns: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.network = network
        self.unknowns = nn.ParameterDict({name: torch.zeros(()) for name in unknowns})

    def values(self, problem: Problem, n_points: int = 1) -> dict[str, Tensor]:
        """The unknown parameters with graph: (1,) each, or (n_points,) where per-point derivatives are recorded."""
        return {
            name: unknown.value(per_point(self.unknowns[name], n_points).reshape(-1))
            for name, unknown in problem.parameters.items()
        }


def untrained(problem: Problem, network: Mapping[str, Any], seed: int) -> Trial:
    """A network of random weights that fits the problem.

    Args:
        problem: gives the number of inputs and outputs, the bounds of the coordinates and the periodic ones.
        network: ``_target_`` and arguments; what is given here is kept.
        seed: of the weights, unless the network has its own.

    Raises:
        ConfigurationError: if the network refuses an argument.
    """
    bounds = problem.network_bounds
    periods = {list(bounds).index(name): period for name, period in problem.periods.items()}
    follows: dict[str, Any] = {
        "inputs": len(bounds),
        "outputs": len(problem.fields),
        "bounds": [list(ends) for ends in bounds.values()],
        "periods": periods or None,
        "seed": seed,
    }
    known = {key: value for key, value in follows.items() if network.get(key) is None}
    spec = {key: value for key, value in network.items() if key not in known}
    return Trial(build(spec, **known), tuple(problem.parameters)).double()
