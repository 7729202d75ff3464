"""Numerical precision of a stage as the Lightning plugin that does exactly what the word says."""

from __future__ import annotations

import torch
from pytorch_lightning.plugins.precision import DoublePrecision, MixedPrecision, Precision

from training.stages import PrecisionName


def precision_plugin(name: PrecisionName, device: str) -> Precision:
    """The plugin for one stage.

    Lightning's own choice would train in bfloat16 when float16 is asked for on the CPU; here float16 is float16, with a
    gradient scaler on either device.

    Args:
        name: weights in float64 or float32, or float32 weights with products in bfloat16 or float16.
        device: ``"cpu"`` or ``"cuda"``.
    """
    if name == "64-true":
        return DoublePrecision()
    if name == "bf16-mixed":
        return MixedPrecision("bf16-mixed", device)
    if name == "16-mixed":
        return MixedPrecision("16-mixed", device, scaler=torch.amp.GradScaler(device))
    return Precision()
