"""The base of every settings class: a typo is refused, a value is checked once, and nothing changes afterwards."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Settings of one config group; unknown keys are errors, values are immutable and of the declared type."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=False, allow_inf_nan=False, use_attribute_docstrings=True
    )
