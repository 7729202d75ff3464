"""Synthetic measurements of specimens from the exact solution of a parametric problem."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pinn.names import hint
from pinn.problem import Problem
from pinn.specimens.settings import SpecimensSettings
from training.errors import ConfigurationError


@dataclass(frozen=True)
class Measurements:
    """B specimens, each read by the same m sensors.

    Attributes:
        sensors: (m, other coordinates) in the order of the problem's coordinates without the parameters.
        data: (B, m).
        sigma: of every reading.
        truth: (B, p).
        amplitude: (B,).
    """

    sensors: Tensor
    data: Tensor
    sigma: float
    truth: Tensor
    amplitude: Tensor


def check(problem: Problem, settings: SpecimensSettings) -> None:
    """Find what problem and settings make impossible together.

    Raises:
        ConfigurationError: names the key, and the nearest known name.
    """
    if problem.reference is None:
        raise ConfigurationError("specimens: measurements are drawn from the exact solution, which this problem lacks.")
    if settings.field not in problem.fields:
        raise ConfigurationError(
            f"specimens.field: there is no field {settings.field}; {hint(settings.field, problem.fields)}"
        )
    for name in settings.parameters:
        if name not in problem.space:
            raise ConfigurationError(
                f"specimens.parameters: {name} is no coordinate of the problem; {hint(name, problem.space)}"
            )
    places = [name for name in problem.space if name not in settings.parameters]
    if set(places) != set(settings.sensors):
        raise ConfigurationError(
            f"specimens.sensors: sensors sit in {', '.join(places)}; got values of {', '.join(settings.sensors)}."
        )


def measure(problem: Problem, settings: SpecimensSettings) -> Measurements:
    """Draw specimens and read their sensors; equal settings give equal numbers."""
    assert problem.reference is not None
    random = torch.Generator().manual_seed(settings.seed)
    n = settings.count
    bounds: Mapping[str, tuple[float, float]] = problem.domain.bounds
    low, high = (torch.tensor([bounds[name][i] for name in settings.parameters], dtype=torch.float64) for i in (0, 1))
    share = torch.rand(n, len(low), generator=random, dtype=torch.float64)
    truth = low + (high - low) * (settings.margin + (1 - 2 * settings.margin) * share)
    others = [name for name in problem.coordinates if name not in settings.parameters]
    axes = [_axis(name, problem, settings) for name in others]
    sensors = torch.cartesian_prod(*axes).reshape(-1, len(axes))
    m = len(sensors)
    points = torch.empty(n, m, len(problem.coordinates), dtype=torch.float64)
    points[:, :, [problem.coordinates.index(name) for name in others]] = sensors
    points[:, :, [problem.coordinates.index(name) for name in settings.parameters]] = truth[:, None, :]
    exact = problem.reference.values(points.view(n * m, -1))[settings.field].reshape(n, m)
    start, end = settings.amplitude
    amplitude = start + (end - start) * torch.rand(n, generator=random, dtype=torch.float64)
    noise = settings.noise * torch.randn(n, m, generator=random, dtype=torch.float64)
    return Measurements(sensors, amplitude[:, None] * exact + noise, settings.noise, truth, amplitude)


def _axis(name: str, problem: Problem, settings: SpecimensSettings) -> Tensor:
    if name != problem.time:
        return torch.tensor(settings.sensors[name], dtype=torch.float64)
    start, end = problem.domain.bounds[name]
    return start + (end - start) * torch.arange(1, settings.times + 1, dtype=torch.float64) / settings.times
