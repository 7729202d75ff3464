"""One optimizer step on one objective, for each kind of question an optimizer asks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pinn.solve.least_squares import Residuals
from pinn.solve.objective import Objective
from pinn.solve.scaling import LossScale
from training.optimizers.flat import NotFinite
from training.stages import Closure


class TermsNotFinite(Exception):
    """The loss or its gradient is not a number; the step was not made, or led there.

    Attributes:
        names: of the terms to blame.
    """

    def __init__(self, names: list[str]) -> None:
        super().__init__(", ".join(names))
        self.names = names


@dataclass(frozen=True)
class Taken:
    """A step.

    Attributes:
        terms: ``loss`` and the unweighted terms: before the step if it is of first order, else after it.
        gradient_norm: of a first-order step.
    """

    terms: Mapping[str, Tensor]
    gradient_norm: Tensor | None = None


def take_step(
    closure: Closure, optimizer: Any, objective: Objective, clip: float | None = None, scale: LossScale | None = None
) -> Taken:
    """Let an optimizer make one step.

    Args:
        closure: what it asks for, see `pinn.solve.stage.SolveStage.closure`.
        optimizer: of the objective's parameters.
        objective: the loss.
        clip: longest gradient of a first-order step.
        scale: of the loss, for products in float16.

    Raises:
        TermsNotFinite: names the terms.
    """
    try:
        if closure is None:
            return _first_order(optimizer, objective, clip, scale)
        taken = Taken(_BY_CLOSURE[closure](optimizer, objective))
    except NotFinite as error:
        raise TermsNotFinite(_to_blame(objective.values())) from error
    _require_finite(taken.terms)
    return taken


def objective_changed(optimizer: torch.optim.Optimizer) -> None:
    """Tell an optimizer that points or weights of the loss are other ones than at its last step.

    Those of `training.optimizers` keep what they know of the curvature where that is sound. torch's L-BFGS would
    subtract gradients of two different losses, so it begins anew.
    """
    if not any(optimizer.state.values()):
        return
    if hasattr(optimizer, "objective_changed"):
        optimizer.objective_changed()
    elif isinstance(optimizer, torch.optim.LBFGS):
        optimizer.state.clear()


def _first_order(optimizer: Any, objective: Objective, clip: float | None, scale: LossScale | None) -> Taken:
    """Gradient, then step; a gradient that overflowed in float16 is left out."""
    terms = objective.gradients(1.0 if scale is None else scale.value)
    _require_finite(terms)
    norm = torch.nn.utils.get_total_norm([p.grad for p in objective.parameters if p.grad is not None])
    overflow = not bool(torch.isfinite(norm))
    if scale is not None:
        scale.update(overflow)
    elif overflow:
        raise TermsNotFinite(["the gradient"])
    if not overflow:
        if clip is not None:
            torch.nn.utils.clip_grads_with_norm_(objective.parameters, clip, norm)
        optimizer.step()
    return Taken(terms, norm.detach())


def _with_loss(optimizer: Any, objective: Objective) -> Mapping[str, Tensor]:
    """The optimizer evaluates the loss itself; the terms are those of the loss that it returns."""
    evaluated: dict[float, dict[str, Tensor]] = {}

    def closure() -> Tensor:
        terms = objective.gradients()
        evaluated[float(terms["loss"])] = terms
        return terms["loss"]

    loss = float(optimizer.step(closure))
    # nothing was evaluated where the optimizer has no further step on this loss
    return evaluated[loss] if loss in evaluated else objective.values()


def _with_residuals(optimizer: Any, objective: Objective) -> Mapping[str, Tensor]:
    """The optimizer asks for residuals and their Jacobian."""
    optimizer.step(Residuals(objective))
    return objective.values()


_BY_CLOSURE: dict[str, Callable[[Any, Objective], Mapping[str, Tensor]]] = {
    "loss": _with_loss,
    "least_squares": _with_residuals,
}


def _require_finite(terms: Mapping[str, Tensor]) -> None:
    if not math.isfinite(float(terms["loss"])):
        raise TermsNotFinite(_to_blame(terms))


def _to_blame(terms: Mapping[str, Tensor]) -> list[str]:
    """The terms that are not finite, or what else can be said."""
    bad = [name for name, value in terms.items() if name != "loss" and not bool(torch.isfinite(value))]
    return bad or ["the loss or its gradient"]
