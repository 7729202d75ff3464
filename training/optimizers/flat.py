"""The base of optimizers that see all weights as one vector and keep one state for all of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from training.errors import ConfigurationError, LimbeckError


class NotFinite(LimbeckError):
    """The loss or its gradient is not a number where a step should begin."""


class FlatOptimizer(Optimizer):
    """Trainable parameters as one vector, in the order given, and the state in one dictionary of plain values.

    Args:
        params: parameters, or one group of them; those with ``requires_grad=False`` are left alone.
        defaults: of the group; ``lr`` must be positive.
        single_precision: accept float32 parameters, whose rounding ends the descent early.

    Raises:
        ConfigurationError: if there are several groups, no trainable parameter, parameters of several types or
            devices, or of another type than float64 without ``single_precision``.
    """

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any], single_precision: bool = False) -> None:
        super().__init__(params, defaults)
        if not defaults["lr"] > 0:
            raise ConfigurationError(f"{self.name}: lr={defaults['lr']} is the largest step, a positive number.")
        if len(self.param_groups) != 1:
            raise ConfigurationError(
                f"{self.name} sees all weights as one vector: give it one list of parameters, not "
                f"{len(self.param_groups)} groups."
            )
        self._parameters = self._trainable()
        self._check_types(single_precision)
        sizes = [parameter.numel() for parameter in self._parameters]
        self.size = sum(sizes)
        """Number of weights."""
        # one buffer whose pieces have the parameters' shapes: writing weights is then two calls for any number of them
        self._flat = self._parameters[0].detach().new_empty(self.size)
        pieces = zip(self._flat.split(sizes), self._parameters, strict=True)
        self._pieces = [piece.view(parameter.shape) for piece, parameter in pieces]

    @property
    def name(self) -> str:
        return type(self).__name__

    @property
    def memory(self) -> dict[str, Any]:
        """The one state of all parameters, as `state_dict` saves it: tensors of the parameters' type, plain values."""
        memory: dict[str, Any] = self.state[self._parameters[0]]
        return memory

    @property
    def rate(self) -> float:
        """The group's ``lr``, which schedules change."""
        return float(self.param_groups[0]["lr"])

    @property
    def stopped(self) -> str:
        """Why no further step is possible on this objective; empty while there is."""
        return str(self.memory.get("stopped", ""))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a saved state, which is copied: the steps write into their tensors.

        Raises:
            ConfigurationError: if a vector or matrix of the state belongs to another number of weights.
        """
        super().load_state_dict(state_dict)
        memory = self.memory
        for saved in state_dict["state"].values():
            # torch rebuilds every iterable while it moves tensors, and a word does not survive that
            memory.update({key: value for key, value in saved.items() if not isinstance(value, Tensor)})
        for key, value in list(memory.items()):
            if not isinstance(value, Tensor):
                continue
            if value.ndim and value.shape[0] != self.size:
                raise ConfigurationError(
                    f"{self.name}: the saved {key.replace('_', ' ')} belongs to {value.shape[0]} weights, this network "
                    f"has {self.size}. Restore the network's settings, or start beside it with run.resume=false."
                )
            memory[key] = value.clone(memory_format=torch.contiguous_format)

    def weights(self) -> Tensor:
        """All trainable parameters, (n,), copied."""
        self._check_unchanged()
        return torch.cat([parameter.detach().reshape(-1) for parameter in self._parameters])

    @torch.no_grad()
    def set_weights(self, weights: Tensor) -> None:
        """Write (n,) values into the parameters."""
        self._flat.copy_(weights)
        torch._foreach_copy_(self._parameters, self._pieces)

    def gradient(self) -> Tensor:
        """The parameters' ``.grad``, (n,), copied; zero where a parameter took no part in the loss."""
        parts = [p.new_zeros(p.numel()) if p.grad is None else p.grad.reshape(-1) for p in self._parameters]
        return torch.cat(parts)

    def _scalar(self, value: float) -> Tensor:
        first = self._parameters[0]
        return torch.tensor(value, dtype=first.dtype, device=first.device)

    def _trainable(self) -> list[Tensor]:
        return [parameter for parameter in self.param_groups[0]["params"] if parameter.requires_grad]

    def _check_unchanged(self) -> None:
        now = self._trainable()
        if len(now) != len(self._parameters) or any(a is not b for a, b in zip(now, self._parameters, strict=True)):
            raise ConfigurationError(
                f"{self.name}: requires_grad of a parameter has changed since the optimizer was built; build a new one."
            )

    def _check_types(self, single_precision: bool) -> None:
        if not self._parameters:
            raise ConfigurationError(f"{self.name}: no parameter requires a gradient.")
        kinds = {(parameter.dtype, parameter.device) for parameter in self._parameters}
        if len(kinds) > 1:
            names = ", ".join(sorted(f"{dtype} on {device}" for dtype, device in kinds))
            raise ConfigurationError(f"{self.name} needs parameters of one type on one device; got {names}.")
        ((dtype, _),) = kinds
        allowed = {torch.float64, torch.float32} if single_precision else {torch.float64}
        if dtype not in allowed:
            raise ConfigurationError(
                f"{self.name} needs float64 parameters (precision: 64-true); got {dtype}. In float32 it stops at a "
                "relative accuracy of about 1e-3; to use it all the same, set single_precision: true."
            )
