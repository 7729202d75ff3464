"""Settings of the config group ``student``: how large, how far it sees."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from training.settings import Settings


class StudentSettings(Settings):
    """Architecture of `mlff.student.PaiNN`; the elements come from the data."""

    channels: int = Field(default=64, ge=1)
    """Features per atom F; the cost of a step grows with F² for atoms and with F for edges."""

    layers: int = Field(default=3, ge=1)
    """Message and update blocks."""

    radial: int = Field(default=8, ge=2)
    """Radial functions."""

    cutoff: float = Field(default=5.0, gt=0)
    """Å; edges grow with its cube."""

    basis: str = "BesselBasis"
    """Class in mlff.student.radial: BesselBasis or GaussianBasis."""

    envelope: str = "PolynomialCutoff"
    """Class in mlff.student.cutoff: PolynomialCutoff (smooth curvature) or CosineCutoff (as in published models)."""

    output_scale: float = Field(default=1.0, gt=0)
    """Energy of one unit of the network's output, in eV per eV/Å of the root mean square force. A small one asks for
    large outputs, for which features have to leave their random start, and what is learned generalises better."""

    kernels: Literal["auto", "reference", "numba", "triton", "triton-3xtf32"] = "auto"
    """Implementation of the message passing; auto takes the fastest one the device has."""
