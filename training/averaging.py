"""The exponential moving average of a network's weights, kept beside the network and never swapped into it."""

from __future__ import annotations

import copy

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
        averages: list[Tensor] = list(self.model.parameters())
        values = [parameter.detach() for parameter in model.parameters()]
        torch._foreach_lerp_(averages, values, 1 - decay)
        for average, value in zip(self.model.buffers(), model.buffers(), strict=True):
            average.copy_(value)
        self.updates += 1

    @staticmethod
    def _tensors(model: nn.Module) -> list[Tensor]:
        return [*model.parameters(), *model.buffers()]
