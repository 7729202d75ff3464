"""A stage of distillation: what every stage has, and the limits of its batches and the shape of its errors."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator

from training.stages import Stage

TERMS = ("energy", "forces", "energies", "stress")
"""Names of the loss terms."""

ERRORS = ("mlff.distill.losses.",)
"""Where the shapes of errors come from."""


class DistillStage(Stage):
    """One stage of `mlff.distill.module.Distillation`."""

    loss_weights: dict[str, Annotated[float, Field(ge=0)]] = Field(min_length=1)
    """Weights of ``energy`` (per atom, eV), ``forces`` (per component, eV/Å), ``energies`` (per-atom energies, eV) and
    ``stress`` (per component, eV/Å³). ``energies`` counts where the labels have them; ``stress`` must not be weighted
    where they have none."""

    error: dict[str, Any] = Field(default_factory=lambda: {"_target_": "mlff.distill.losses.Huber", "delta": 0.01})
    """``_target_`` and arguments of the function of the difference between prediction and label."""

    max_structures: int | None = Field(default=None, ge=1)
    """Structures per micro-batch, at most; null: ``data.batch_size``."""

    max_edges: int | None = Field(default=None, ge=1)
    """Edges per micro-batch, at most; null: ``data.max_edges``."""

    @field_validator("loss_weights")
    @classmethod
    def _known_terms(cls, weights: dict[str, float]) -> dict[str, float]:
        unknown = sorted(set(weights) - set(TERMS))
        if unknown:
            raise ValueError(f"there is no loss term {', '.join(unknown)}; the terms are {', '.join(TERMS)}")
        if not any(weights.values()):
            raise ValueError("every weight is 0, so there is nothing to learn from")
        return weights

    @field_validator("error")
    @classmethod
    def _error_is_allowed(cls, spec: dict[str, Any]) -> dict[str, Any]:
        if not str(spec.get("_target_", "")).startswith(ERRORS):
            raise ValueError("_target_ must name a class of mlff.distill.losses such as mlff.distill.losses.Huber")
        return spec
