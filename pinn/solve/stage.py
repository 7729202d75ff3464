"""A stage of solving: what every stage has, and where its points, their weights and its end come from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field, field_validator

from training.configuration import instantiate
from training.stages import Precision, Stage, build
from training.stopping import StopSettings

SAMPLERS = ("pinn.sampling.",)
"""Where samplers come from."""

BALANCES = ("pinn.weighting.",)
"""Where loss balances come from."""


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

    def conflicts(self) -> Iterator[str]:
        """What does not go together, a sentence each."""
        sampler = None if self.sampler is None else instantiate(self.sampler, SAMPLERS)
        if sampler is not None and sampler.needs_uncertainty and self.ema_decay is None:
            yield (
                f"{type(sampler).__name__} asks how unsure the network is, which the average of the weights answers: "
                "set ema_decay (0.99, for example), or choose pinn.sampling.RAD"
            )
        if self.closure is not None:
            every = None if sampler is None else sampler.every
            yield from self._conflicts_of_second_order(self.optimizer["_target_"].rpartition(".")[2], every)

    def _conflicts_of_second_order(self, optimizer: str, every: int | None) -> Iterator[str]:
        if self.precision.endswith("mixed"):
            yield (
                f"{optimizer} compares losses and gradients of the same points, and {self.precision} rounds them too "
                "coarsely for that: use precision 64 (or 32), or a first-order optimizer"
            )
        if self.clip is not None:
            yield f"{optimizer} chooses the length of its steps itself: leave out clip"
        if self.closure == "loss" and every is not None and every < self.frozen:
            yield (
                f"{optimizer} learns the curvature on points that stay for frozen={self.frozen} steps, but the sampler "
                f"moves them every {every}: raise sampler.every, or lower frozen if you mean it"
            )

    @field_validator("sampler")
    @classmethod
    def _sampler_is_allowed(cls, spec: dict[str, Any] | None) -> dict[str, Any] | None:
        if spec is not None:
            build(spec, SAMPLERS, "pinn.sampling.RAD")
        return spec

    @field_validator("balance")
    @classmethod
    def _balance_is_allowed(cls, spec: dict[str, Any]) -> dict[str, Any]:
        build(spec, BALANCES, "pinn.weighting.Fixed")
        return spec
