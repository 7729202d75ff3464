"""Settings of the config group ``data``: where labelled structures come from and how they are divided and batched."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from training.settings import Settings


class DataSettings(Settings):
    """The data of a run: labelled by the run's teacher, or read from files that have labels."""

    train: str | None = None
    """File with labelled structures; None: the run's teacher makes the labels."""
    test: str | None = None
    """File with labelled structures that nothing but the final judgement sees; only with ``train``."""
    energy_key: str | None = None
    """Where the files keep the energy in eV; None: search the known names."""
    forces_key: str | None = None
    """Where the files keep the forces in eV/Å; None: search the known names."""
    stress_key: str | None = None
    """Where the files keep the stress in eV/Å³, or a virial in eV; None: search the known names."""
    validation: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Validation structures: a number, or a share of what is not held out."""
    split: Literal["auto", "trajectory", "blocks", "frames"] = "trajectory"
    """What validation takes: whole trajectories, blocks of each, frames at random; auto: trajectories if enough."""
    reference_energies: Literal["fit", "isolated"] | dict[str, float] = "fit"
    """Energies per element: fitted, from ``isolated_atoms``, or eV by chemical symbol."""
    isolated_atoms: str | None = None
    """File of isolated atoms with energies, for ``reference_energies: isolated``."""
    batch_size: int = Field(default=10, ge=1)
    """Structures per micro-batch, at most."""
    max_edges: int = Field(default=50_000, ge=1)
    """Edges per micro-batch, at most: what limits memory."""
    in_memory: bool = True
    """Keep neighbour lists in memory; false: read structures from the disk and build their lists for every batch."""
    workers: int = Field(default=0, ge=0)
    """Loader processes besides the training process; 0 is fastest for structures in memory."""

    @field_validator("reference_energies")
    @classmethod
    def _known_elements(cls, value: str | dict[str, float]) -> str | dict[str, float]:
        from ase.data import atomic_numbers

        unknown = [symbol for symbol in value if symbol not in atomic_numbers] if isinstance(value, dict) else []
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: no chemical symbols; write e.g. {{H: -13.6, C: -1027.0}} in eV")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> DataSettings:
        if self.test is not None and self.train is None:
            raise ValueError("data.test is a file of labelled data and needs data.train; a teacher's run makes its own")
        if (self.reference_energies == "isolated") != (self.isolated_atoms is not None):
            raise ValueError("data.reference_energies=isolated and data.isolated_atoms=FILE go together")
        if self.train is None and (self.energy_key or self.forces_key or self.stress_key):
            raise ValueError("data.energy_key, forces_key and stress_key belong to data.train=FILE, which is not given")
        return self

    def isolated_energies(self) -> dict[int, float] | None:
        """Reference energies in eV by atomic number as given, or None where they are to be fitted.

        Raises:
            InputError: if the file of isolated atoms is not usable.
        """
        if isinstance(self.reference_energies, dict):
            from ase.data import atomic_numbers

            return {atomic_numbers[symbol]: energy for symbol, energy in self.reference_energies.items()}
        if self.isolated_atoms is not None:
            from mlff.data.exchange import read_isolated_atoms

            return read_isolated_atoms(self.isolated_atoms, self.energy_key)
        return None
