"""Measurements as an inverse problem gets them: a reference at random points, with noise."""

from __future__ import annotations

import torch
from torch import Tensor

from pinn.geometry import Geometry
from pinn.references.reference import Reference
from training.errors import ConfigurationError


def measured(reference: Reference, domain: Geometry, count: int, noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """The first field of a reference at uniformly random points of a domain, with independent Gaussian errors.

    Args:
        reference: the truth.
        domain: where the points are.
        count: how many, at least one.
        noise: standard deviation of the errors as a share of the field's own over the points.
        seed: of points and errors; the points do not depend on the noise.

    Returns:
        Points (count, d) and values (count,), float64.

    Raises:
        ConfigurationError: if there are no measurements, or the noise is negative.
    """
    if count < 1 or not noise >= 0:
        raise ConfigurationError(f"One or more measurements with noise of 0 or more; got {count} with noise {noise:g}.")
    generator = torch.Generator().manual_seed(seed)
    points = domain.sample(count, generator)
    values = reference.values(points)[reference.fields[0]]
    errors = torch.randn(count, generator=generator, dtype=torch.float64)
    return points, values + noise * values.std(correction=0) * errors
