"""The exponential moving average of a network's weights, kept beside the network and never swapped into it."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

WARMUP_OFFSET = 10


class AveragedModel(nn.Module):
    """A copy of a network whose weights follow those of the network: ``a ← d a + (1 − d) w`` after each step.

    The decay starts low, ``d_n = min(decay, (1 + n) / (10 + n))`` at the n-th update, so that the random start is
    forgotten. Weights are averaged in their own type; buffers are copied. The copy is an ordinary module, so it moves
    between devices and lies in checkpoints with the network it belongs to.

    Args:
        model: the network that is trained.
    """

    updates: Tensor

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).requires_grad_(False)
        self._known: tuple[nn.Module | None, list[tuple[nn.Module, nn.Module]]] = (None, [])
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def restart(self, model: nn.Module) -> None:
        """Forget the past: the average is the network as it is."""
        self.updates.zero_()
        for average, value in zip(self._tensors(self.model), self._tensors(model), strict=True):
            average.copy_(value)

    @torch.no_grad()
    def update(self, model: nn.Module, decay: float) -> None:
        """Follow the network by one step.

        Args:
            model: the network, with the same parameters and buffers.
            decay: share of the average that is kept, between 0 and 1.
        """
        count = int(self.updates)
        decay = min(decay, (1 + count) / (WARMUP_OFFSET + count))
        modules = self._modules_beside(model)
        pairs = [pair for mine, other in modules for pair in _both(mine._parameters, other._parameters)]
        # a weight that two modules share moves once
        averages = {id(value): average for average, value in pairs}
        values = {id(value): value.detach() for _, value in pairs}
        torch._foreach_lerp_(list(averages.values()), list(values.values()), 1 - decay)
        for mine, other in modules:
            for average, value in _both(mine._buffers, other._buffers):
                average.copy_(value)
        self.updates += 1

    def _modules_beside(self, model: nn.Module) -> list[tuple[nn.Module, nn.Module]]:
        """Every module of the average beside that of the network; a walk through all takes as long as the average."""
        if self._known[0] is not model:
            self._known = (model, list(zip(self.model.modules(), model.modules(), strict=True)))
        return self._known[1]

    @staticmethod
    def _tensors(model: nn.Module) -> list[Tensor]:
        return [*model.parameters(), *model.buffers()]


def _both(mine: dict[str, Any], other: dict[str, Any]) -> list[tuple[Tensor, Tensor]]:
    """Tensors of the same name; what is registered as absent is left out."""
    return [(mine[name], value) for name, value in other.items() if value is not None]
