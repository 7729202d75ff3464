"""What a killed simulation needs to go on as if nothing had happened: one file, whole or absent."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from training.errors import InputError
from training.files import write_atomically

FORMAT = "limbeck batched dynamics"
VERSION = 1


@dataclass
class State:
    """A simulation between two steps.

    Attributes:
        step: steps done.
        tensors: positions, velocities, cells, forces, energies, failures and the state of the random numbers.
        identity: what decides the trajectory; a state of another simulation is refused.
        written: how much of every output file belongs to the steps done.
        seconds: wall time of the steps done.
    """

    step: int
    tensors: dict[str, Tensor]
    identity: dict[str, Any]
    written: dict[str, int]
    seconds: float

    def save(self, path: Path) -> None:
        """Write the state, replacing the former one in one step."""
        about = {
            "format": FORMAT,
            "version": VERSION,
            "step": self.step,
            "identity": self.identity,
            "written": self.written,
            "seconds": self.seconds,
        }
        tensors = {name: tensor.cpu().contiguous() for name, tensor in self.tensors.items()}
        content = save(tensors, metadata={"limbeck": json.dumps(about, ensure_ascii=False)})

        def write(temporary: Path) -> None:
            temporary.write_bytes(content)

        write_atomically(path, write)

    @classmethod
    def load(cls, path: Path, identity: dict[str, Any]) -> State:
        """Read the state of the same simulation.

        Raises:
            InputError: if the file is no such state, or belongs to other systems, another student or other settings.
        """
        remedy = "choose another folder, or remove it to start afresh"
        try:
            with safe_open(path, framework="pt") as file:
                about = json.loads((file.metadata() or {}).get("limbeck", "{}"))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read ({error}); {remedy}.") from error
        if about.get("format") != FORMAT or about["version"] != VERSION:
            raise InputError(f"{path} holds no simulation that this version reads; {remedy}.")
        differing = [
            f"{key} (was {about['identity'].get(key)!r}, is {identity.get(key)!r})"
            for key in sorted({*identity, *about["identity"]})
            if about["identity"].get(key) != identity.get(key)
        ]
        if differing:
            raise InputError(f"{path.parent} holds a simulation with another {', '.join(differing)}; {remedy}.")
        return cls(about["step"], tensors, about["identity"], about["written"], about["seconds"])
