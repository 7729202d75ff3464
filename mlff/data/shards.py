"""One file of labelled structures: flat arrays behind 64-bit offsets, in the safetensors layout.

A shard is written once, whole or not at all, and read through a memory map. Three structures of 2, 1 and 3 atoms:

    offsets    [0 2 3 6]             numbers (6,)    positions (6, 3)    forces (6, 3)    energies (6,)
    labelled   [1 0 1]               energy (3,)     cells (3, 3, 3)     stress (3, 3, 3) pbc (3, 3)

Whether a label is there is said by a flag per structure; the numbers of an absent one are NaN, never zero. The names of
trajectories, sources and reasons for rejection are listed once in the JSON metadata and referred to by index.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from safetensors.numpy import save

from mlff.data.records import Labels, Record
from training.errors import InputError
from training.files import write_atomically

FORMAT = "limbeck labelled structures"
VERSION = 1
UNITS = {"positions": "Å", "cells": "Å", "energy": "eV", "energies": "eV", "forces": "eV/Å", "stress": "eV/Å³"}

_DTYPES = {"F64": np.float64, "I64": np.int64, "I32": np.int32, "U8": np.uint8}
_ARRAYS = (
    *("offsets", "numbers", "positions", "cells", "pbc", "trajectory", "source", "rejected"),
    *("labelled", "energy", "forces", "has_energies", "energies", "has_stress", "stress"),
)


def write_shard(path: Path, records: Sequence[Record]) -> None:
    """Write the records into one file that is either whole or absent.

    Args:
        path: the file to make; a file of that name is replaced in one step.
        records: structures with or without labels, in ASE's units. Atomic numbers, positions, cell, pbc, trajectory,
            source, rejection and labels are kept to the last bit; other arrays of the atoms are not.

    Raises:
        InputError: if a label's shape contradicts its structure, the folder cannot be written or the disk is full;
            nothing is left behind.
    """
    flat = _flatten(records)
    described = {**_describe(records), "sha256": _digest(flat)}
    content = save(flat, metadata={"limbeck": json.dumps(described, ensure_ascii=False)})

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    write_atomically(Path(path), write)


def read_shard(path: Path) -> list[Record]:
    """All records of a file made by `write_shard`, in their order.

    Raises:
        InputError: if the file is missing, truncated or no shard.
    """
    return list(Shard(path))


def fingerprint(records: Sequence[Record]) -> str:
    """A SHA-256 of structures and labels, equal for equal data wherever it is kept."""
    names = json.dumps([(record.trajectory, record.source, record.rejected) for record in records], ensure_ascii=False)
    return hashlib.sha256((_digest(_flatten(records)) + names).encode()).hexdigest()


class Shard:
    """A shard read through a memory map: only the pages of the structures asked for are loaded.

    Raises:
        InputError: if the file is missing, truncated or no shard.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        arrays, described = _map(self.path)
        self.arrays = arrays
        self.offsets = arrays["offsets"]
        self._sha256: str = described["sha256"]
        self._trajectories: list[str] = described["trajectories"]
        self._sources: list[str] = described["sources"]
        self._reasons: list[str] = described["reasons"]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[Record]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Record:
        """The record at a position counted from 0; its arrays are copies."""
        a, atoms = self.arrays, self.atoms_of(index)
        structure = Atoms(a["numbers"][atoms], a["positions"][atoms], cell=a["cells"][index], pbc=a["pbc"][index])
        return Record(
            atoms=structure,
            trajectory=self._trajectories[a["trajectory"][index]],
            source=self._sources[a["source"][index]],
            labels=self._labels(index) if a["labelled"][index] else None,
            rejected=self._reasons[a["rejected"][index]],
        )

    def verify(self) -> None:
        """Compare every number with the checksum written beside them.

        Raises:
            InputError: if a single bit has changed since the shard was written.
        """
        if _digest(self.arrays) != self._sha256:
            raise damaged(self.path, "its numbers differ from its checksum")

    def atoms_of(self, index: int) -> slice:
        """Where the atoms of a structure lie in the flat arrays."""
        return slice(int(self.offsets[index]), int(self.offsets[index + 1]))

    @property
    def atom_counts(self) -> np.ndarray:
        """(n,) atoms per structure."""
        return np.diff(self.offsets)

    @property
    def trajectories(self) -> list[str]:
        """The trajectory of every structure."""
        return [self._trajectories[index] for index in self.arrays["trajectory"]]

    @property
    def sources(self) -> list[str]:
        """The source of every structure."""
        return [self._sources[index] for index in self.arrays["source"]]

    @property
    def rejections(self) -> list[str]:
        """The reason for rejection of every structure, empty where it is used."""
        return [self._reasons[index] for index in self.arrays["rejected"]]

    @property
    def labelled(self) -> np.ndarray:
        """(n,) whether a structure has a label."""
        return self.arrays["labelled"].astype(bool)

    @property
    def accepted(self) -> np.ndarray:
        """(n,) whether a structure has a label and is not rejected."""
        empty = np.array([reason == "" for reason in self._reasons], dtype=bool)
        return self.labelled & empty.take(self.arrays["rejected"])

    def _labels(self, index: int) -> Labels:
        a, atoms = self.arrays, self.atoms_of(index)
        return Labels(
            energy=float(a["energy"][index]),
            forces=a["forces"][atoms].copy(),
            energies=a["energies"][atoms].copy() if a["has_energies"][index] else None,
            stress=a["stress"][index].copy() if a["has_stress"][index] else None,
        )


def damaged(path: Path, what: str) -> InputError:
    """The error that names a broken shard and says how to get whole again."""
    return InputError(
        f"{path} is no whole shard of labelled structures: {what}. Delete this file and run the same command again; "
        "only its labels are made anew."
    )


def _flatten(records: Sequence[Record]) -> dict[str, np.ndarray]:
    counts = np.array([len(record.atoms) for record in records], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    n, total = len(records), int(offsets[-1])
    flat: dict[str, np.ndarray] = {
        "offsets": offsets,
        "numbers": np.zeros(total, np.int32),
        "positions": np.zeros((total, 3)),
        "cells": np.zeros((n, 3, 3)),
        "pbc": np.zeros((n, 3), np.uint8),
        "trajectory": _indices(record.trajectory for record in records),
        "source": _indices(record.source for record in records),
        "rejected": _indices(record.rejected for record in records),
        "labelled": np.zeros(n, np.uint8),
        "energy": np.full(n, np.nan),
        "forces": np.full((total, 3), np.nan),
        "has_energies": np.zeros(n, np.uint8),
        "energies": np.full(total, np.nan),
        "has_stress": np.zeros(n, np.uint8),
        "stress": np.full((n, 3, 3), np.nan),
    }
    for index, record in enumerate(records):
        atoms = slice(offsets[index], offsets[index + 1])
        flat["numbers"][atoms] = record.atoms.numbers
        flat["positions"][atoms] = record.atoms.positions
        flat["cells"][index] = record.atoms.cell.array
        flat["pbc"][index] = record.atoms.pbc
        if record.labels is not None:
            _place_labels(flat, index, atoms, record)
    return flat


def _place_labels(flat: dict[str, np.ndarray], index: int, atoms: slice, record: Record) -> None:
    labels, n_atoms = record.labels, len(record.atoms)
    assert labels is not None
    expected = {"forces": (n_atoms, 3), "energies": (n_atoms,), "stress": (3, 3)}
    for name, shape in expected.items():
        value = getattr(labels, name)
        if value is not None and np.shape(value) != shape:
            raise InputError(
                f"The {name} of structure {index} ({record.atoms.get_chemical_formula()}, {record.source}) have the "
                f"shape {np.shape(value)}; {n_atoms} atoms need {shape}."
            )
    flat["labelled"][index] = 1
    flat["energy"][index] = labels.energy
    flat["forces"][atoms] = labels.forces
    if labels.energies is not None:
        flat["has_energies"][index] = 1
        flat["energies"][atoms] = labels.energies
    if labels.stress is not None:
        flat["has_stress"][index] = 1
        flat["stress"][index] = labels.stress


def _indices(names: Iterable[str]) -> np.ndarray:
    known: dict[str, int] = {}
    return np.array([known.setdefault(name, len(known)) for name in names], dtype=np.int32)


def _digest(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in _ARRAYS:
        digest.update(np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _describe(records: Sequence[Record]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "units": UNITS,
        "count": len(records),
        # in order of first appearance, which is how _indices numbers them
        "trajectories": list(dict.fromkeys(record.trajectory for record in records)),
        "sources": list(dict.fromkeys(record.source for record in records)),
        "reasons": list(dict.fromkeys(record.rejected for record in records)),
    }


def _map(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a safetensors file as views of one memory map, and what its metadata says."""
    try:
        # np.asarray drops the memmap subclass, whose slicing costs ten times an array's
        content = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
        length = int(content[:8].view(np.uint64)[0])
        header = json.loads(bytes(content[8 : 8 + length]))
        described = json.loads(header["__metadata__"]["limbeck"])
        _require_version(path, described)
        arrays = {name: _view(content, 8 + length, header[name]) for name in _ARRAYS}
    except FileNotFoundError as error:
        raise InputError(f"The shard {path} does not exist.") from error
    except InputError:
        raise
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise damaged(path, f"{type(error).__name__}, {error}") from error
    return arrays, described


def _view(content: np.ndarray, start: int, entry: dict[str, Any]) -> np.ndarray:
    first, last = (start + offset for offset in entry["data_offsets"])
    if last > len(content):
        raise ValueError(f"it ends at byte {len(content)} instead of {last} or later")
    return content[first:last].view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])


def _require_version(path: Path, described: dict[str, Any]) -> None:
    if described.get("format") != FORMAT or not isinstance(described.get("version"), int):
        raise ValueError("its metadata names another format")
    if described["version"] > VERSION:
        raise InputError(
            f"{path} has shard format {described['version']}; this Limbeck reads up to {VERSION}. Update Limbeck to "
            "read it."
        )
