"""A stage of solving: what every stage has, and where its points, their weights and its end come from."""

from __future__ import annotations

import importlib
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from training.configuration import instantiate
from training.errors import ConfigurationError
from training.stages import SCHEDULES, Precision, Stage
from training.stopping import StopSettings

SAMPLERS = ("pinn.sampling.",)
"""Where samplers come from."""

BALANCES = ("pinn.weighting.",)
"""Where loss balances come from."""

Closure = Literal["loss", "least_squares"] | None
"""What an optimizer asks for at its step: nothing but gradients, the loss as a function, or residuals one by one."""


class SolveStage(Stage):
    """One stage of `pinn.solve.module.SolveModule`."""

    precision: Precision = "64-true"
    """Type of weights (``true``) or of the matrix products (``mixed``)."""

    loss_weights: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """Weights of equations and soft conditions by their names; those not named here weigh 1. Each term is a mean over
    its points."""

    sampler: dict[str, Any] | None = Field(
        default_factory=lambda: {"_target_": "pinn.sampling.RAD", "n": 4000, "every": 200}
    )
    """``_target_`` and arguments of the sampler of collocation points; null goes on with the sampler and the points of
    the stage before."""

    balance: dict[str, Any] = Field(default_factory=lambda: {"_target_": "pinn.weighting.Fixed"})
    """``_target_`` and arguments of the rule that moves the weights of the terms while the stage runs."""

    condition_points: int = Field(default=400, ge=1)
    """Points of every condition that is learned rather than built in; conditions with data have their own."""

    chunk: int | None = Field(default=None, ge=1)
    """Points that go through the network together, at most: it bounds the memory; gradients of chunks are added up.
    Null: as many as fit the processor's cache (`pinn.residuals.default_chunk`)."""

    frozen: int = Field(default=20, ge=1)
    """Steps for which an optimizer that learns the curvature must keep its points; samplers that move them more often
    are refused."""

    stop: StopSettings = StopSettings()
    """What ends the stage before its last step."""

    @property
    def closure(self) -> Closure:
        """What the stage's optimizer asks for."""
        return closure_of(self.optimizer["_target_"])

    @field_validator("sampler")
    @classmethod
    def _sampler_is_allowed(cls, spec: dict[str, Any] | None) -> dict[str, Any] | None:
        if spec is not None:
            _build(spec, SAMPLERS, "pinn.sampling.RAD")
        return spec

    @field_validator("balance")
    @classmethod
    def _balance_is_allowed(cls, spec: dict[str, Any]) -> dict[str, Any]:
        _build(spec, BALANCES, "pinn.weighting.Fixed")
        return spec

    @field_validator("schedule")
    @classmethod
    def _schedule_is_built(cls, spec: dict[str, Any]) -> dict[str, Any]:
        _build(spec, SCHEDULES, "training.schedules.Cosine")
        return spec

    @model_validator(mode="after")
    def _is_possible(self) -> SolveStage:
        complaints = list(_impossible(self))
        if complaints:
            raise ValueError("; ".join(complaints))
        return self


def closure_of(target: str) -> Closure:
    """What the optimizer with this dotted path asks for.

    Raises:
        ValueError: if there is no such class.
    """
    module, _, name = target.rpartition(".")
    try:
        optimizer = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"there is no optimizer {target} ({error})") from error
    if target == "torch.optim.LBFGS":
        return "loss"
    return getattr(optimizer, "closure", None)


def _build(spec: dict[str, Any], allowed: tuple[str, ...], example: str) -> Any:
    if not str(spec.get("_target_", "")).startswith(allowed):
        raise ValueError(f"_target_ must name a class of {' or '.join(allowed)} such as {example}")
    try:
        return instantiate(spec, allowed)
    except ConfigurationError as error:
        raise ValueError(str(error)) from error


def _impossible(stage: SolveStage) -> Any:
    """What does not go together, a sentence each."""
    sampler = None if stage.sampler is None else instantiate(stage.sampler, SAMPLERS)
    if sampler is not None and sampler.needs_uncertainty and stage.ema_decay is None:
        yield (
            f"{type(sampler).__name__} asks how unsure the network is, which the average of the weights answers: set "
            "ema_decay (0.99, for example), or choose pinn.sampling.RAD"
        )
    closure = stage.closure
    optimizer = stage.optimizer["_target_"].rpartition(".")[2]
    if closure is None:
        return
    if stage.precision.endswith("mixed"):
        yield (
            f"{optimizer} compares losses and gradients of the same points, and {stage.precision} rounds them too "
            "coarsely for that: use precision 64 (or 32), or a first-order optimizer"
        )
    if stage.clip is not None:
        yield f"{optimizer} chooses the length of its steps itself: leave out clip"
    every = None if sampler is None else sampler.every
    if closure == "loss" and every is not None and every < stage.frozen:
        yield (
            f"{optimizer} learns the curvature on points that stay for frozen={stage.frozen} steps, but the sampler "
            f"moves them every {every}: raise sampler.every, or lower frozen if you mean it"
        )
