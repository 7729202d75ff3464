"""What a killed run at constant energy needs to go on as if nothing had happened: one file, whole or absent."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from training.errors import InputError
from training.files import write_atomically

FORMAT = "limbeck constant-energy dynamics"
VERSION = 1
_ARRAYS = ("positions", "momenta", "forces", "potential", "kinetic", "deviation", "frames")


@dataclass
class NveState:
    """Atoms in motion and everything noted so far.

    Attributes:
        step: steps done; negative during thermalisation, 0 at the start of the judged part.
        positions: (n_atoms, 3) Å.
        momenta: (n_atoms, 3) in ASE's unit, √(amu·eV).
        forces: (n_atoms, 3) eV/Å at these positions.
        potential, kinetic: (n_samples,) eV, NaN where not reached yet.
        deviation: (n_samples,) Å, largest bond deviation at each sample.
        frames: (n_frames, n_atoms, 3) Å, NaN where not reached yet.
        seconds: wall time of the steps so far.
        failure: empty, or why the dynamics stopped.
        notes: what the preparation found (relaxation), JSON values.
    """

    step: int
    positions: np.ndarray
    momenta: np.ndarray
    forces: np.ndarray
    potential: np.ndarray
    kinetic: np.ndarray
    deviation: np.ndarray
    frames: np.ndarray
    seconds: float = 0.0
    failure: str = ""
    notes: dict[str, Any] = field(default_factory=dict)

    def save(self, path: Path, identity: dict[str, Any]) -> None:
        """Write the state, replacing the former one in one step."""
        about = {
            **{"format": FORMAT, "version": VERSION, "identity": identity, "step": self.step},
            **{"seconds": self.seconds, "failure": self.failure, "notes": self.notes},
        }
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}
        content = save(arrays, metadata={"limbeck": json.dumps(about, ensure_ascii=False)})

        def write(temporary: Path) -> None:
            temporary.write_bytes(content)

        write_atomically(path, write)

    @classmethod
    def load(cls, path: Path, identity: dict[str, Any]) -> NveState:
        """Read a state of the same run.

        Raises:
            InputError: if the file is not such a state, or belongs to another student or other settings; names both.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                about = json.loads((file.metadata() or {}).get("limbeck", "{}"))
                arrays = {name: file.get_tensor(name) for name in _ARRAYS} if about.get("format") == FORMAT else {}
        except (SafetensorError, ValueError) as error:
            raise InputError(
                f"{path} cannot be read ({error}). Remove it to run the dynamics from the start."
            ) from error
        if not arrays or about["version"] != VERSION:
            raise InputError(f"{path} holds no dynamics that this version reads. Remove it to run them from the start.")
        if about["identity"] != identity:
            differing = sorted(
                k for k in {*identity, *about["identity"]} if identity.get(k) != about["identity"].get(k)
            )
            raise InputError(
                f"{path} belongs to dynamics with another {', '.join(differing)}. Remove it to run them from the "
                "start, or choose another folder."
            )
        return cls(
            **{
                "step": about["step"],
                "seconds": about["seconds"],
                "failure": about["failure"],
                "notes": about["notes"],
            },
            **arrays,
        )
