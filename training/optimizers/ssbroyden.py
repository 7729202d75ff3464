"""Self-scaled Broyden and BFGS with a dense inverse Hessian, for small networks in double precision."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor

from training.errors import ConfigurationError
from training.optimizers.flat import FlatOptimizer, NotFinite
from training.optimizers.inverse_hessian import UPDATES, Update, Workspace, is_positive, update_in_place
from training.optimizers.line_search import Found, Trial, WolfeConditions, strong_wolfe

logger = logging.getLogger(__name__)

SINGLE_NOISE, DOUBLE_NOISE = 1e-5, 1e-10


class SSBroyden(FlatOptimizer):
    """Quasi-Newton steps ``x ← x − α H g`` with a self-scaled update of H and a strong Wolfe line search.

    The loss and gradient at the end of a step are those at the start of the next one, so that an accepted first trial
    costs one evaluation. A caller that changes what the closure computes (points, weights of terms) calls
    `objective_changed` before the next step. Memory and checkpoint hold ``n²`` numbers: 8 n² bytes, 200 MB for 5,000
    weights.

    Args:
        params: float64 parameters, one group.
        lr: first step length that the line search tries, 1 for quasi-Newton steps.
        update: ``ssbroyden`` (SSBroyden2), ``ssbfgs`` (self-scaled BFGS) or ``bfgs``.
        iterations: steps of the method in one call of `step`.
        c1: share of the linear decrease that the line search demands.
        c2: share of the slope that it may leave.
        max_evaluations: of the loss in one line search.
        noise: relative rounding error of the loss, below which the line search trusts slopes only; null: 1e-10, in
            single precision 1e-5.
        max_gigabytes: refuse to begin if H is larger, in units of 1e9 bytes.
        single_precision: accept float32 parameters.

    Raises:
        ConfigurationError: if an argument is outside its range, H is too large, or the parameters are not usable.

    Source: see `training.optimizers.inverse_hessian.scaling`.
    """

    closure = "loss"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        update: Update = "ssbroyden",
        iterations: int = 1,
        c1: float = 1e-4,
        c2: float = 0.9,
        max_evaluations: int = 25,
        noise: float | None = None,
        max_gigabytes: float = 4.0,
        single_precision: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr}, single_precision)
        if update not in UPDATES:
            raise ConfigurationError(f"{self.name}: update={update!r} is not one of {', '.join(UPDATES)}.")
        if iterations < 1 or max_evaluations < 1:
            raise ConfigurationError(f"{self.name}: iterations and max_evaluations are at least 1.")
        first = self._parameters[0]
        gigabytes = self.size**2 * first.element_size() / 1e9
        if gigabytes > max_gigabytes:
            raise ConfigurationError(
                f"{self.name} keeps a dense matrix: {self.size} weights need {gigabytes:.3g} GB, more than "
                f"max_gigabytes={max_gigabytes:g}. Make the network smaller, raise the limit, or use torch.optim.LBFGS."
            )
        if noise is None:
            noise = DOUBLE_NOISE if first.dtype == torch.float64 else SINGLE_NOISE
        try:
            self.conditions = WolfeConditions(c1, c2, noise)
        except ValueError as error:
            raise ConfigurationError(f"{self.name}: {error}") from error
        self.update = update
        self.iterations = iterations
        self.max_evaluations = max_evaluations
        self._work = Workspace(first.detach().new_empty(self.size))

    def objective_changed(self) -> None:
        """The next step evaluates anew, and keeps H if it is still positive.

        Call it when the points or weights of the loss have changed; a stopped optimizer continues.
        """
        if not self.memory:
            return
        self.memory.update(evaluated=False, check=True, stopped="", along_gradient=False, fall=0.0)

    @property
    def last_search(self) -> str:
        """How the last line search ended."""
        return str(self.memory.get("search", ""))

    @property
    def evaluations(self) -> int:
        """Evaluations of the closure so far."""
        return int(self.memory.get("evaluations", 0))

    # torch's own signature allows a missing closure
    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """Make ``iterations`` steps.

        Args:
            closure: clears the gradients, computes loss and gradients at the current weights, returns the loss; it may
                return a loss that is not finite, which shortens the step.

        Returns:
            The loss at the weights after the step, a scalar of their type.

        Raises:
            NotFinite: if loss or gradient are not finite before the step; the weights are unchanged.
        """
        closure = torch.enable_grad()(closure)
        for _ in range(self.iterations):
            self._begin(closure)
            if self.stopped:
                break
            self._iterate(closure)
        return self._scalar(self.memory["loss"])

    @torch.no_grad()
    def _begin(self, closure: Callable[[], Tensor]) -> None:
        """Loss, gradient and direction at the current weights, unless they are known."""
        memory, weights = self.memory, self.weights()
        if not memory:
            memory.update(inverse_hessian=torch.eye(self.size, dtype=weights.dtype, device=weights.device))
            memory.update(
                first=True,
                check=False,
                along_gradient=False,
                stopped="",
                search="",
                evaluations=0,
                iterations=0,
                fall=0.0,
            )
        elif memory.get("evaluated") and torch.equal(weights, memory["weights"]):
            return
        loss = float(closure())
        gradient = self.gradient()
        memory["evaluations"] += 1
        if not (math.isfinite(loss) and bool(torch.isfinite(gradient).all())):
            raise NotFinite(
                f"{self.name}: the loss ({loss:g}) or its gradient is not finite before the step, so there is nothing "
                "to descend from. Look at the terms of the loss, or precede this stage by steps of Adam."
            )
        if memory["check"] and not is_positive(memory["inverse_hessian"]):
            self._reset("it has no Cholesky factor")
        memory.update(weights=weights, loss=loss, gradient=gradient, evaluated=True, check=False, stopped="")
        memory["direction"] = torch.mv(memory["inverse_hessian"], gradient).neg_()

    @torch.no_grad()
    def _iterate(self, closure: Callable[[], Tensor]) -> None:
        memory = self.memory
        gradient, direction = memory["gradient"], memory["direction"]
        slope = float(torch.dot(gradient, direction))
        if not slope < 0 and bool(gradient.any()):
            self._reset("its direction does not lead downhill")
            memory["direction"] = direction = gradient.neg()
            slope = float(torch.dot(gradient, direction))
        if slope == 0:
            memory["stopped"] = "the gradient is zero"
            return
        found = self._search(closure, slope)
        memory.update(search=str(found.reason))
        memory["evaluations"] += found.evaluations
        if not found.moved:
            self._turn_to_gradient(found)
            return
        if memory["along_gradient"]:
            self._reset("no lower loss was found along its direction")
            memory["along_gradient"] = False
        memory["iterations"] += 1
        self._update(found.trial, slope)

    def _search(self, closure: Callable[[], Tensor], slope: float) -> Found:
        memory = self.memory
        weights, direction = memory["weights"], memory["direction"]
        last = 0.0

        def evaluate(step: float) -> Trial:
            nonlocal last
            moved, last = torch.add(weights, direction, alpha=step), step
            self.set_weights(moved)
            value = float(closure())
            gradient = self.gradient()
            return Trial(step, value, float(torch.dot(gradient, direction)), (moved, gradient))

        first_step = self.rate
        if memory["first"] or memory["along_gradient"]:
            # the identity knows no length: move the weights by at most lr
            first_step *= min(1.0, 1 / math.sqrt(-slope))
        elif memory["fall"] > 0:
            # the step after which a parabola with this slope has fallen as far as the last step did
            first_step *= min(1.0, 1.01 * 2 * memory["fall"] / -slope)
        largest = torch.linalg.vector_norm(torch.stack((weights, direction)), math.inf, dim=1).tolist()
        smallest = torch.finfo(weights.dtype).eps * largest[0] / largest[1]
        start = Trial(0.0, memory["loss"], slope, (weights, memory["gradient"]))
        found = strong_wolfe(evaluate, start, first_step, self.conditions, self.max_evaluations, smallest)
        if found.trial.step != last:
            self.set_weights(found.trial.content[0])
        return found

    def _update(self, trial: Trial, slope: float) -> None:
        """Take the new point over, and its curvature into H."""
        memory, work = self.memory, self._work
        moved, gradient = trial.content
        torch.sub(moved, memory["weights"], out=work.step)
        torch.sub(gradient, memory["gradient"], out=work.change)
        work.gradient.copy_(gradient)
        matrix, descent = memory["inverse_hessian"], trial.step**2 * slope
        direction = update_in_place(matrix, work, cast(Update, self.update), descent, memory["first"])
        if direction is None:
            direction = torch.mv(matrix, gradient).neg_()
        else:
            memory["first"] = False
        memory.update(fall=memory["loss"] - trial.value, loss=trial.value)
        memory.update(weights=moved, gradient=gradient, direction=direction)

    def _turn_to_gradient(self, found: Found) -> None:
        """After a failed search: try the plain gradient once, keeping H until that succeeds; then stop."""
        memory = self.memory
        if memory["first"] or memory["along_gradient"]:
            memory["stopped"] = f"no lower loss along the gradient: {found.reason}"
            return
        memory["along_gradient"] = True
        memory["direction"] = memory["gradient"].neg()

    def _reset(self, why: str) -> None:
        memory = self.memory
        memory["inverse_hessian"].zero_().fill_diagonal_(1.0)
        memory["first"] = True
        level = logging.DEBUG if memory.get("told") else logging.WARNING
        logger.log(level, "%s starts its matrix anew from the identity: %s.", self.name, why)
        memory["told"] = True
