"""The columns of a table of fitted spectra: one row for each, failed fits included."""

from __future__ import annotations

import numpy as np

from pinn.fitting.result import FitResult
from pinn.spectra.model import rotation_of


def columns(fitted: FitResult, continuum: bool = True) -> dict[str, np.ndarray]:
    """Every column by name: parameters with standard errors, v sin i, χ², how the fit ended.

    Args:
        fitted: the last parameter is the squared rotation.
        continuum: whether to give the continuum's coefficients too.
    """
    found: dict[str, np.ndarray] = {"spectrum": np.arange(len(fitted))}
    for place, name in enumerate(fitted.names):
        found[name] = fitted.parameters[:, place].numpy()
        found[f"{name}_error"] = fitted.errors[:, place].numpy()
    rotation, error = rotation_of(fitted.parameters[:, -1], fitted.errors[:, -1])
    found |= {"rotation": rotation.numpy(), "rotation_error": error.numpy()}
    found |= {"chi2": fitted.chi2.numpy(), "dof": fitted.dof.numpy(), "iterations": fitted.iterations.numpy()}
    found["status"] = np.array(fitted.words)
    if continuum:
        for place in range(fitted.coefficients.shape[1]):
            found[f"continuum_{place}"] = fitted.coefficients[:, place].numpy()
    return found
