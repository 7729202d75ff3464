"""torch's L-BFGS with a line search, and without the tolerances that make it stop at once on small losses."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

START = 1e12
"""The loss at the first step is scaled to about this."""


class LBFGS(torch.optim.LBFGS):
    """``max_iter`` limited-memory BFGS iterations per step, for networks too large for a dense matrix.

    torch's defaults end a step once the gradient is below 1e-7 or the loss falls by less than 1e-9, which a loss of
    1e-8 does always, and its fixed limit of 1e-10 on ``y·s`` drops the curvature of small losses. Here the tolerances
    are zero, torch sees the loss multiplied by a power of two that makes it large, and `stopped` says when the weights
    no longer move.

    Args:
        params: parameters, one group; float64 for losses below 1e-6.
        lr: first step length that the line search tries.
        max_iter: iterations in one call of `step`; each call costs one evaluation more than its iterations do.
        history_size: pairs of steps and changes of the gradient that are kept, each of two vectors.
        max_eval: evaluations in one call of `step`; null: 5/4 of ``max_iter``.
    """

    closure = "loss"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        max_iter: int = 20,
        history_size: int = 50,
        max_eval: int | None = None,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            max_iter=max_iter,
            max_eval=max_eval,
            tolerance_grad=0.0,
            tolerance_change=0.0,
            history_size=history_size,
            line_search_fn="strong_wolfe",
        )

    @property
    def stopped(self) -> str:
        """Why no further step is possible on this objective; empty while there is."""
        still = self.state[self._params[0]].get("still", False)
        return "no lower loss along the direction: the weights no longer move" if still else ""

    def objective_changed(self) -> None:
        """Forget the curvature, which belongs to other points or weights of the loss; a stopped optimizer continues."""
        self.state[self._params[0]].clear()

    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """Make up to ``max_iter`` iterations.

        Args:
            closure: clears the gradients, computes loss and gradients at the current weights, returns the loss.

        Returns:
            The loss before the step, as torch's own optimizers do.
        """
        state = self.state[self._params[0]]

        def scaled() -> Tensor:
            loss = closure()
            if "scale" not in state:
                first = float(loss)
                exponent = math.log2(START / abs(first)) if math.isfinite(first) and first else 0.0
                state["scale"] = 2.0 ** round(exponent)
            self._scale_gradients(state["scale"])
            return loss * state["scale"]

        before = [parameter.detach().clone() for parameter in self._params]
        loss: Tensor = super().step(scaled) / state["scale"]
        self._scale_gradients(1 / state["scale"])
        still = all(map(torch.equal, before, self._params))
        # a first failure drops the curvature, a second one is the end
        if still and state.get("old_dirs"):
            self.objective_changed()
        else:
            state["still"] = still
        return loss.detach()

    def _scale_gradients(self, factor: float) -> None:
        gradients = [parameter.grad for parameter in self._params if parameter.grad is not None]
        if gradients:
            torch._foreach_mul_(gradients, factor)
