"""Which key of a user's file means energy, forces and stress.

Programs write labels under many names, and ASE's readers move some of them (``energy``, ``forces``, ``stress``) from a
frame's properties to a calculator. Here every value of a frame has been brought together under its own name, and the
names are searched for known ones. Nothing is guessed: no name found, or two that disagree, is an error that says which
option decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.errors import InputError

# Compared without regard to capitals.
KNOWN = {
    "energy": (
        *("energy", "ref_energy", "dft_energy", "qm_energy", "total_energy", "potential_energy"),
        *("dft_total_energy", "totenergy", "tot_energy", "etot", "e_tot"),
    ),
    "forces": (
        *("forces", "force", "ref_forces", "ref_force", "dft_forces", "dft_force", "qm_forces", "qm_force"),
        *("total_forces", "atomic_forces"),
    ),
    "stress": (
        *("stress", "ref_stress", "dft_stress", "qm_stress"),
        *("virial", "virials", "ref_virial", "ref_virials", "dft_virial", "dft_virials", "qm_virial", "qm_virials"),
    ),
}


@dataclass(frozen=True)
class Frame:
    """A structure's place in its file and every value found beside it.

    Attributes:
        name: "frame 3 (C2H6O) of ethanol.xyz", as error messages say it.
        values: values by key, from the calculator, the properties of the frame and of its atoms.
    """

    name: str
    values: Mapping[str, Any]

    def __str__(self) -> str:
        return self.name


def find_key(kind: str, frames: Sequence[Frame], asked: str | None) -> tuple[str | None, str]:
    """The key under which every frame holds the energy, the forces or the stress.

    Args:
        kind: ``energy``, ``forces`` or ``stress``.
        frames: all frames of a file.
        asked: the key a user names, or None to search the known ones.

    Returns:
        The key, or None for a stress that no frame has; and a remark on the choice for the log, or "".

    Raises:
        InputError: if energy or forces are missing, or several keys found do not agree.
    """
    if asked is not None:
        if not any(asked in frame.values for frame in frames):
            raise InputError(f"No frame has the key {asked!r} that {_option(kind)} names; {_found(frames[0])}.")
        return asked, "named by you"
    candidates = _ordered(key for frame in frames for key in frame.values if key.lower() in KNOWN[kind])
    if not candidates and kind == "energy" and any("free_energy" in frame.values for frame in frames):
        return "free_energy", "the only energy there; it is the one whose derivative the forces are"
    if not candidates:
        if kind == "stress":
            return None, ""
        raise missing(kind, frames[0])
    if len(candidates) > 1 and not all(_agree(candidates, frame) for frame in frames):
        counted = ", ".join(f"{key} ({sum(key in f.values for f in frames)} frames)" for key in candidates)
        raise InputError(
            f"Several keys could be the {kind}: {counted}, and they do not hold the same values. Name one with "
            f"{_option(kind)}=KEY; every frame must have it."
        )
    return candidates[0], _remark(kind, candidates, frames)


def missing(kind: str, frame: Frame, key: str | None = None) -> InputError:
    """The error for a frame without energy or forces; a missing label is never taken as zero."""
    sought = f"the {kind} (key {key!r})" if key else f"the {kind}"
    return InputError(
        f"{frame} lacks {sought}; {_found(frame)}. Every frame needs one: remove the frame, or name the key with "
        f"{_option(kind)}=KEY."
    )


def is_virial(key: str) -> bool:
    """Whether a stress is given as a virial, −V times the stress."""
    return "virial" in key.lower()


def numbers(frame: Frame, key: str, shape: tuple[int, ...]) -> np.ndarray:
    """A label as finite float64 numbers of a shape.

    Raises:
        InputError: naming frame and key, if it has another size, is not numeric, NaN or infinite.
    """
    try:
        value = np.asarray(frame.values[key], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{key!r} of {frame} is not a number: {error}.") from error
    if value.size != int(np.prod(shape)):
        raise InputError(f"{key!r} of {frame} has the shape {value.shape}; {shape} is needed.")
    if not np.isfinite(value).all():
        raise InputError(f"{key!r} of {frame} is not finite (NaN or infinite). Remove the frame or compute it again.")
    return value.reshape(shape)


def _agree(keys: Sequence[str], frame: Frame) -> bool:
    if not all(key in frame.values for key in keys):
        return False
    first, *others = (np.ravel(np.asarray(frame.values[key])) for key in keys)
    return all(np.array_equal(first, other) for other in others)


def _remark(kind: str, candidates: Sequence[str], frames: Sequence[Frame]) -> str:
    remarks = []
    if len(candidates) > 1:
        remarks.append(f"{' and '.join(candidates[1:])} hold the same values")
    if kind == "energy":
        both = [f for f in frames if "free_energy" in f.values and candidates[0] in f.values]
        if any(not _agree([candidates[0], "free_energy"], frame) for frame in both):
            remarks.append(
                "free_energy is there too and differs; forces are the derivative of free_energy, "
                "which data.energy_key=free_energy chooses"
            )
    return "; ".join(remarks)


def _ordered(keys: Iterable[str]) -> list[str]:
    """Each key once, in the order of the list of known ones."""
    rank = {name: number for kind in KNOWN.values() for number, name in enumerate(kind)}
    return sorted(dict.fromkeys(keys), key=lambda key: rank[key.lower()])


def _found(frame: Frame) -> str:
    return f"the keys of {frame} are: {', '.join(sorted(frame.values)) or 'none'}"


def _option(kind: str) -> str:
    return f"data.{kind}_key"
