"""What a batched fit asks of a model: the predictions of many fits, and their derivatives by the few parameters.

A model with `linearise` brings its own derivatives. Any other function of torch is differentiated forward, one pass for
each parameter: with few parameters and many predictions that is far cheaper than a pass back from each prediction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from training.errors import InputError

Forward = Callable[..., Tensor]
"""``forward(parameters, *inputs)``: (n, p) and what belongs to each fit, (n, …), to the predictions (n, m); no row may
depend on another."""

Jacobian = Callable[..., Tensor]
"""``jacobian(parameters, *inputs)``: the derivatives (n, m, p)."""


@runtime_checkable
class Model(Protocol):
    """Predictions together with their derivatives."""

    def __call__(self, parameters: Tensor, *inputs: Tensor) -> Tensor:
        """Predictions (n, m) at parameters (n, p)."""

    def linearise(self, parameters: Tensor, *inputs: Tensor) -> Tensor:
        """(n, 1 + p, m): the predictions, then their derivative by each parameter."""


class ForwardMode:
    """A plain function as a model, differentiated by ``torch.func.jvp`` along every parameter at once."""

    def __init__(self, forward: Forward) -> None:
        self.forward = forward

    def __call__(self, parameters: Tensor, *inputs: Tensor) -> Tensor:
        with torch.no_grad():
            return self.forward(parameters, *inputs)

    def linearise(self, parameters: Tensor, *inputs: Tensor) -> Tensor:
        n, p = parameters.shape
        directions = torch.eye(p, dtype=parameters.dtype, device=parameters.device)[:, None, :].expand(p, n, p)

        def along(direction: Tensor) -> tuple[Tensor, Tensor]:
            value, tangent, *_ = torch.func.jvp(lambda at: self.forward(at, *inputs), (parameters,), (direction,))
            return value, tangent

        with torch.no_grad():
            values, tangents = torch.func.vmap(along, out_dims=(None, 1))(directions)  # type: ignore[arg-type]
            return torch.cat([values[:, None, :], tangents], dim=1)

    def to(self, device: Any) -> ForwardMode:
        """The same; moves the function where it is a module."""
        if hasattr(self.forward, "to"):
            self.forward.to(device)
        return self


class GivenJacobian:
    """A function as a model with a Jacobian written by the user."""

    def __init__(self, forward: Forward, jacobian: Jacobian) -> None:
        self.forward, self.jacobian = forward, jacobian

    def __call__(self, parameters: Tensor, *inputs: Tensor) -> Tensor:
        with torch.no_grad():
            return self.forward(parameters, *inputs)

    def linearise(self, parameters: Tensor, *inputs: Tensor) -> Tensor:
        with torch.no_grad():
            values = self.forward(parameters, *inputs)
            jacobian = self.jacobian(parameters, *inputs)
        wanted = (*values.shape, parameters.shape[1])
        if tuple(jacobian.shape) != wanted:
            raise InputError(
                f"The Jacobian has the shape {tuple(jacobian.shape)}; predictions {tuple(values.shape)} of "
                f"{parameters.shape[1]} parameters have derivatives {wanted}."
            )
        return torch.cat([values[:, None, :], jacobian.transpose(1, 2)], dim=1)

    def to(self, device: Any) -> GivenJacobian:
        """The same; moves function and Jacobian where they are modules."""
        for part in (self.forward, self.jacobian):
            if hasattr(part, "to"):
                part.to(device)
        return self


def as_model(forward: Forward | Model, jacobian: Jacobian | None = None) -> Model:
    """The model of a function, of a function with its Jacobian, or the model itself."""
    if jacobian is not None:
        return GivenJacobian(forward, jacobian)
    return forward if isinstance(forward, Model) else ForwardMode(forward)
