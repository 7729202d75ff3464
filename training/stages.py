"""One stage of optimization: how long, with which optimizer, schedule, precision and loss weights."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from training.settings import Settings

PrecisionName = Literal["64-true", "32-true", "bf16-mixed", "16-mixed"]
SHORT_NAMES = {"32": "32-true", "64": "64-true", "bf16": "bf16-mixed", "16": "16-mixed"}

OPTIMIZERS = ("torch.optim.", "training.optimizers.", "pytorch_optimizer.")
SCHEDULES = ("training.schedules.", "mlff.", "pinn.")


def _full_name(word: object) -> object:
    """``32`` and ``"32"`` mean ``"32-true"``, and so on."""
    return SHORT_NAMES.get(str(word), word)


Precision = Annotated[PrecisionName, BeforeValidator(_full_name)]
"""A precision by its full or its short name."""


class Stage(Settings):
    """Settings of one stage; a half derives its own class to add what its data or losses need."""

    steps: int = Field(ge=1)
    """Optimizer steps."""

    max_minutes: float | None = Field(default=None, gt=0)
    """Wall-clock time the stage may take; the number of steps is cut once, early, if they would take longer. The result
    then depends on the speed of the machine; null keeps it independent of the clock."""

    optimizer: dict[str, Any]
    """``_target_`` and arguments, for example ``{_target_: torch.optim.AdamW, lr: 1e-3, weight_decay: 1e-2}``."""

    schedule: dict[str, Any] = Field(default_factory=lambda: {"_target_": "training.schedules.Constant"})
    """``_target_`` and arguments of a `training.schedules.Schedule`: the factor on the learning rate."""

    precision: Precision = "32-true"
    """Type of weights (``true``) or of the matrix products (``mixed``)."""

    accumulate: int = Field(default=1, ge=1)
    """Micro-batches whose gradients are added up to one optimizer step."""

    clip: float | None = Field(default=None, gt=0)
    """Largest norm of the gradient; longer ones are scaled down."""

    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    """Decay per step of the average of the weights, which validation and export use; null: the weights themselves."""

    loss_weights: dict[str, Annotated[float, Field(ge=0)]] = Field(min_length=1)
    """Weight of every loss term."""

    validate_every: int = Field(default=500, ge=1)
    """Steps between validations; one more follows the last step."""

    log_every: int = Field(default=10, ge=1)
    """Steps between logged values of the loss."""

    @field_validator("optimizer")
    @classmethod
    def _optimizer_is_allowed(cls, spec: dict[str, Any]) -> dict[str, Any]:
        return _with_target(spec, OPTIMIZERS, "torch.optim.AdamW")

    @field_validator("schedule")
    @classmethod
    def _schedule_is_allowed(cls, spec: dict[str, Any]) -> dict[str, Any]:
        return _with_target(spec, SCHEDULES, "training.schedules.Cosine")


def _with_target(spec: dict[str, Any], allowed: tuple[str, ...], example: str) -> dict[str, Any]:
    target = str(spec.get("_target_", ""))
    if not target.startswith(allowed):
        raise ValueError(f"_target_ must name a class of {' or '.join(allowed)} such as {example}")
    return spec
