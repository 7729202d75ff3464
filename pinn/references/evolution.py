"""References of equations in one space coordinate and time, integrated here and kept.

A solution is kept as the coefficients of a `Basis` at times close enough that a polynomial through the nearest ones
continues them in between.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pinn.references.bases import EvenChebyshevBasis, FourierBasis, barycentric
from pinn.references.cache import cached
from pinn.references.etdrk4 import Segment, integrate
from pinn.references.reference import Reference, relative_l2
from training.errors import InputError

NEIGHBOURS = 12
"""Times that take part in the interpolation: a polynomial of degree eleven."""

POINTS_AT_ONCE = 2048
"""Scattered points whose coefficients are in memory together."""

CHECKED_PLACES = 400
"""Places in space at which two resolutions are compared."""

VANISHED = 35.0
"""A known wave that has decayed by exp(−35) = 6e-16 is left out."""


@dataclass(frozen=True)
class KnownWaves:
    """Waves beyond a Fourier basis whose course is known: ``2 Σ start·exp(−rate t)·cos(κ (x − low))``.

    Args:
        kappa, start, rate: (n_waves,) each, the rates positive and ascending.
    """

    kappa: np.ndarray
    start: np.ndarray
    rate: np.ndarray

    def amplitudes(self, t: np.ndarray) -> np.ndarray:
        """(n_times, n_waves)"""
        return 2 * self.start * np.exp(-np.outer(t, self.rate))

    def functions(self, x: np.ndarray) -> np.ndarray:
        """At distances from the low end: (n_places, n_waves)."""
        return np.cos(np.outer(x, self.kappa))


class Evolution(Reference):
    """A solution of ``u_t = L u + N(u)`` by ETDRK4; the equation is given by the methods of a subclass.

    The floor is the relative L2 difference, over space and time, to a second run with three quarters of the basis
    functions, twice the time step and times kept in between, so it bounds truncation, time stepping and interpolation
    in time together; the finer run itself is better.

    Args:
        parameters: of the equation; they enter the fingerprint of the kept file.
        modes: number of basis functions.
        segments: step sizes over time; the number of steps between two kept times is a multiple of four.
    """

    coordinates = ("x", "t")
    version = 1
    """Raised when the numbers change for the same settings."""

    def __init__(self, parameters: Mapping[str, float], modes: int, segments: Sequence[Segment]) -> None:
        self.parameters = dict(parameters)
        self.modes = modes
        self.segments = tuple(segments)
        if any(segment.keep % 4 for segment in self.segments):
            raise ValueError("The number of steps between kept times is a multiple of four; see the floor.")

    @abstractmethod
    def basis(self, modes: int) -> FourierBasis | EvenChebyshevBasis:
        """The expansion in space."""

    @abstractmethod
    def linear(self, basis: Any) -> np.ndarray:
        """The diagonal of ``L``."""

    @abstractmethod
    def nonlinear(self, coefficients: np.ndarray, basis: Any) -> np.ndarray:
        """``N`` in coefficients."""

    @abstractmethod
    def initial(self, basis: Any) -> np.ndarray:
        """The coefficients at time zero."""

    def carrier(self, basis: Any) -> np.ndarray | None:
        """Rates (n,) of factors exp(rate t) taken out of the coefficients before they are interpolated in time.

        None for none. Free waves that turn many times between two kept times need it.
        """
        return None

    def beyond(self, basis: Any) -> KnownWaves | None:
        """The waves beyond the basis, where their course is known."""
        return None

    def fields_of(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """The named fields of the values of the expansion."""
        return {self.fields[0]: values.real}

    def values(self, points: Tensor) -> dict[str, Tensor]:
        columns = self.columns(points.detach().cpu())
        x, t = columns["x"].numpy(), columns["t"].numpy()
        end = self.segments[-1].until
        if len(t) and (t.min() < -1e-12 or t.max() > end * (1 + 1e-12)):
            raise InputError(
                f"The reference is known for t from 0 to {end:g}; asked for {t.min():g} to {t.max():g}. Make the "
                "problem's time longer, or ask within it."
            )
        basis, times = self.basis(self.modes), self._kept["times"]
        solution = self._expand(basis, times, self._coefficients, x, np.clip(t, 0.0, end))
        return {name: torch.from_numpy(v).to(points.device) for name, v in self.fields_of(solution).items()}

    @property
    def floor(self) -> float:
        return float(self._kept["floor"])

    @property
    def floor_note(self) -> str:
        return (
            f"spectral in space ({self.modes} modes), ETDRK4 in time; relative L2 difference to three quarters of the "
            "modes and twice the time step, at and between the kept times"
        )

    @cached_property
    def _kept(self) -> dict[str, np.ndarray]:
        settings = {
            "version": self.version,
            "parameters": self.parameters,
            "modes": self.modes,
            "segments": [[s.until, s.step, s.keep] for s in self.segments],
        }
        return cached(type(self).__name__, settings, self._compute)

    @cached_property
    def _coefficients(self) -> np.ndarray:
        return self._kept["real"] + 1j * self._kept["imaginary"] if "imaginary" in self._kept else self._kept["real"]

    def _compute(self) -> dict[str, np.ndarray]:
        times, coefficients = self._run(self.modes, self.segments)
        coarse_modes = 2 * (3 * self.modes // 8)
        coarse_times, coarse = self._run(coarse_modes, [segment.refined(2.0, 0.5) for segment in self.segments])
        between = self._at(self.basis(self.modes), times, coefficients, coarse_times)
        fine = self._on_grid(self.basis(self.modes), coarse_times, between)
        other = self._on_grid(self.basis(coarse_modes), coarse_times, coarse)
        floor = relative_l2(other, fine, torch.from_numpy(np.gradient(coarse_times))[:, None])
        arrays = {"times": times, "real": coefficients.real, "floor": np.array(floor)}
        return {**arrays, "imaginary": coefficients.imag} if np.iscomplexobj(coefficients) else arrays

    def _on_grid(self, basis: Any, times: np.ndarray, coefficients: np.ndarray) -> Tensor:
        """All fields at equally spaced places: (n_fields, n_times, n_places)."""
        places = np.linspace(basis.low, basis.high, CHECKED_PLACES)
        x, t = np.tile(places, len(times)), np.repeat(times, len(places))
        fields = self.fields_of(self._expand(basis, times, coefficients, x, t))
        return torch.from_numpy(np.stack(list(fields.values())).reshape(len(fields), len(times), -1))

    def _run(self, modes: int, segments: Sequence[Segment]) -> tuple[np.ndarray, np.ndarray]:
        basis = self.basis(modes)
        return integrate(self.linear(basis), lambda c: self.nonlinear(c, basis), self.initial(basis), segments)

    def _at(self, basis: Any, times: np.ndarray, coefficients: np.ndarray, moments: np.ndarray) -> np.ndarray:
        """The coefficients at other times: (n_moments, n)."""
        carrier = self.carrier(basis)
        if carrier is None:
            return _in_time(times, moments) @ coefficients
        slow = coefficients * np.exp(-np.outer(times, carrier))
        return (_in_time(times, moments) @ slow) * np.exp(np.outer(moments, carrier))

    def _expand(
        self, basis: Any, times: np.ndarray, coefficients: np.ndarray, x: np.ndarray, t: np.ndarray
    ) -> np.ndarray:
        """Values of the expansion at points: (n_points,), complex where the basis is."""
        known = self.beyond(basis)
        places, at_place = np.unique(x, return_inverse=True)
        moments, at_moment = np.unique(t, return_inverse=True)
        if len(places) * len(moments) <= 4 * len(x):
            grid = self._at(basis, times, coefficients, moments) @ basis.functions(places).T
            if known is not None:
                early = moments * known.rate[0] < VANISHED
                grid[early] += known.amplitudes(moments[early]) @ known.functions(places - basis.low).T
            return grid[at_moment, at_place]
        chunks = []
        for begin in range(0, len(x), POINTS_AT_ONCE):
            here, now = x[begin : begin + POINTS_AT_ONCE], t[begin : begin + POINTS_AT_ONCE]
            values = (self._at(basis, times, coefficients, now) * basis.functions(here)).sum(1)
            if known is not None:
                early = now * known.rate[0] < VANISHED
                values[early] += (known.amplitudes(now[early]) * known.functions(here[early] - basis.low)).sum(1)
            chunks.append(values)
        return np.concatenate(chunks)


def _in_time(times: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """Matrix from the kept times to other moments: (n_moments, n_times), by the nearest times of each moment."""
    count = min(NEIGHBOURS, len(times))
    first = np.clip(np.searchsorted(times, moments) - count // 2, 0, len(times) - count)
    columns = first[:, None] + np.arange(count)
    nodes = times[columns]
    # scaled to unit size, so that the products neither overflow nor underflow
    span = (nodes[:, -1] - nodes[:, 0])[:, None, None] / 4
    difference = (nodes[:, :, None] - nodes[:, None, :]) / span
    difference[:, np.arange(count), np.arange(count)] = 1.0
    matrix = np.zeros((len(moments), len(times)))
    np.put_along_axis(matrix, columns, barycentric(nodes, 1 / difference.prod(2), moments), axis=1)
    return matrix
