"""What a network sees of the points: normalised coordinates, exact periodic embeddings, random Fourier features.

Nothing here is trained, so for fixed points the features are computed once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pinn.jets.elementary import cosine, sine
from pinn.jets.jet import Jet, concatenate
from training.errors import ConfigurationError, InputError


class Features(nn.Module):
    """``z = (x − centre)/half width`` for every coordinate that is not periodic, ``cos(2πk x/L), sin(2πk x/L)`` for one
    that is; with random frequencies ``cos(Bz), sin(Bz)`` of these in their place.

    Args:
        inputs: coordinates.
        bounds: lowest and highest value of each coordinate; None takes coordinates as they are.
        periods: ``L`` of the periodic coordinates, by column.
        harmonics: ``k`` runs from 1 to this.
        fourier: rows of ``B``; 0 for none.
        fourier_scale: standard deviation of the elements of ``B``.
        generator: of ``B``.

    Attributes:
        width: number of features.

    Raises:
        ConfigurationError: for impossible numbers.

    Source: Tancik et al., "Fourier features let networks learn high frequency functions in low dimensional domains",
    2020; Dong and Ni, "A method for representing periodic functions and enforcing exactly periodic boundary
    conditions with deep neural networks", 2021.
    """

    centre: Tensor
    scale: Tensor
    frequencies: Tensor

    def __init__(
        self,
        inputs: int,
        bounds: Sequence[Sequence[float]] | None,
        periods: Mapping[int, float] | Mapping[str, float] | None,
        harmonics: int,
        fourier: int,
        fourier_scale: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.periods = {int(column): float(period) for column, period in (periods or {}).items()}
        self.harmonics = harmonics
        _check(inputs, bounds, self.periods, harmonics, fourier, fourier_scale)
        limits = torch.tensor([[-1.0, 1.0]] * inputs if bounds is None else bounds, dtype=torch.float64)
        self.register_buffer("centre", limits.mean(dim=1), persistent=False)
        self.register_buffer("scale", 2 / (limits[:, 1] - limits[:, 0]), persistent=False)
        plain = inputs - len(self.periods) + 2 * harmonics * len(self.periods)
        drawn = torch.randn(fourier, plain, generator=generator, dtype=torch.float64) * fourier_scale
        self.register_buffer("frequencies", drawn)
        self.inputs = inputs
        self.width = 2 * fourier or plain

    def forward(self, points: Tensor) -> Tensor:
        """Features (n_points, width) of points (n_points, inputs)."""
        columns = []
        for column in range(self.inputs):
            x = points[:, column : column + 1]
            if column in self.periods:
                columns += [f(w * x) for w in self._wave_numbers(column) for f in (torch.cos, torch.sin)]
            else:
                columns.append((x - self.centre[column]) * self.scale[column])
        features = torch.cat(columns, dim=1).to(points.dtype)
        if self.frequencies.shape[0]:
            phase = self._phase(features)
            features = torch.cat([torch.cos(phase), torch.sin(phase)], dim=1)
        return features

    def jet(self, coordinates: Jet) -> Jet:
        """Features of width ``width`` of a jet of width ``inputs``.

        Raises:
            InputError: if the width differs.
        """
        if coordinates.width != self.inputs:
            raise InputError(f"The network takes {self.inputs} coordinates; the points have {coordinates.width}.")
        parts = coordinates.parts * self.scale.to(coordinates.parts)
        parts[0] -= (self.centre * self.scale).to(parts)
        features = coordinates.with_parts(parts)
        if self.periods:
            features = concatenate([self._embedded(coordinates, features, n) for n in range(self.inputs)])
        if self.frequencies.shape[0]:
            phase = features.with_parts(self._phase(features.parts))
            features = concatenate([phase.apply(cosine), phase.apply(sine)])
        return features

    def _phase(self, features: Tensor) -> Tensor:
        """``B z``, in full precision also under autocast: an error of the phase is one of the coordinates."""
        with torch.autocast(features.device.type, enabled=False):
            return features @ self.frequencies.to(features).t()

    def _embedded(self, coordinates: Jet, normalised: Jet, column: int) -> Jet:
        if column not in self.periods:
            return normalised.column(column)
        x = coordinates.column(column)
        return concatenate([(x * w).apply(f) for w in self._wave_numbers(column) for f in (cosine, sine)])

    def _wave_numbers(self, column: int) -> list[float]:
        return [2 * math.pi * k / self.periods[column] for k in range(1, self.harmonics + 1)]


def _check(
    inputs: int,
    bounds: Sequence[Sequence[float]] | None,
    periods: Mapping[int, float],
    harmonics: int,
    fourier: int,
    fourier_scale: float,
) -> None:
    if bounds is not None:
        if len(bounds) != inputs:
            raise ConfigurationError(
                f"There are {len(bounds)} bounds for {inputs} coordinates; give one pair for each."
            )
        for column, (low, high) in enumerate(bounds):
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise ConfigurationError(f"Coordinate {column} has the bounds {low} and {high}; give low < high.")
    for column, period in periods.items():
        if not 0 <= column < inputs:
            raise ConfigurationError(f"There is no coordinate {column} to be periodic; the last one is {inputs - 1}.")
        if not (math.isfinite(period) and period > 0):
            raise ConfigurationError(f"The period of coordinate {column} is {period}; it is a positive length.")
    if harmonics < 1:
        raise ConfigurationError(f"harmonics is {harmonics}; a periodic coordinate needs at least 1.")
    if fourier < 0 or not (math.isfinite(fourier_scale) and fourier_scale > 0):
        raise ConfigurationError(f"fourier={fourier}, fourier_scale={fourier_scale}: a count and a positive scale.")
