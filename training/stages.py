"""One stage of optimization: how long, with which optimizer, schedule, precision and loss weights."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from training.configuration import instantiate
from training.errors import ConfigurationError
from training.settings import Settings

if TYPE_CHECKING:
    import torch

PrecisionName = Literal["64-true", "32-true", "bf16-mixed", "16-mixed"]
SHORT_NAMES = {"32": "32-true", "64": "64-true", "bf16": "bf16-mixed", "16": "16-mixed"}

OPTIMIZERS = ("torch.optim.", "training.optimizers.", "pytorch_optimizer.")
SCHEDULES = ("training.schedules.", "mlff.", "pinn.")


def _full_name(word: object) -> object:
    """``32`` and ``"32"`` mean ``"32-true"``, and so on."""
    return SHORT_NAMES.get(str(word), word)


Precision = Annotated[PrecisionName, BeforeValidator(_full_name)]
"""A precision by its full or its short name."""

Closure = Literal["loss", "least_squares"] | None
"""What an optimizer asks for at its step: nothing but gradients, the loss as a function, or residuals one by one."""


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

    @property
    def closure(self) -> Closure:
        """What the stage's optimizer asks for."""
        return closure_of(self.optimizer["_target_"])

    @property
    def weight_dtype(self) -> torch.dtype:
        """The type in which weights and optimizer state are kept."""
        # settings are also read by commands that never train, which should not wait for torch
        import torch

        return torch.float64 if self.precision == "64-true" else torch.float32

    def conflicts(self) -> Iterator[str]:
        """What does not go together, a sentence each; a half adds its own."""
        if self.closure == "least_squares":
            optimizer = self.optimizer["_target_"].rpartition(".")[2]
            yield f"{optimizer} asks for residuals one by one, which this half does not have: use torch.optim.AdamW"

    @field_validator("optimizer")
    @classmethod
    def _optimizer_is_allowed(cls, spec: dict[str, Any]) -> dict[str, Any]:
        require_target(spec, OPTIMIZERS, "torch.optim.AdamW")
        closure_of(spec["_target_"])
        return spec

    @field_validator("schedule")
    @classmethod
    def _schedule_is_built(cls, spec: dict[str, Any]) -> dict[str, Any]:
        build(spec, SCHEDULES, "training.schedules.Cosine")
        return spec

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        complaints = list(self.conflicts())
        if complaints:
            raise ValueError("; ".join(complaints))
        self._build_optimizer()
        return self

    def _build_optimizer(self) -> None:
        """Refuse wrong arguments before the first stage begins, not when this one does."""
        import torch

        layer = torch.nn.Linear(1, 1, dtype=self.weight_dtype)
        build(self.optimizer, OPTIMIZERS, "torch.optim.AdamW", params=list(layer.parameters()))


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


def build(spec: dict[str, Any], allowed: Sequence[str], example: str, **extra: Any) -> Any:
    """What ``_target_`` names, for a validator of settings.

    Raises:
        ValueError: if the target is not allowed, does not exist or refuses its arguments.
    """
    require_target(spec, allowed, example)
    try:
        return instantiate(spec, allowed, **extra)
    except ConfigurationError as error:
        raise ValueError(str(error)) from error


def require_target(spec: dict[str, Any], allowed: Sequence[str], example: str) -> None:
    """Refuse a ``_target_`` from elsewhere.

    Raises:
        ValueError: if it does not begin as allowed.
    """
    if not str(spec.get("_target_", "")).startswith(tuple(allowed)):
        raise ValueError(f"_target_ must name a class of {' or '.join(allowed)} such as {example}")
