"""Which structures train, which choose the best weights, and which judge: never one structure in two roles.

Frames of one trajectory are alike, so a frame left out of a trajectory trained on says little about new geometries.
Whole trajectories are therefore kept apart where there are enough of them; where a file is one trajectory, the note of
the split says in words what was done instead.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from ase import Atoms

from mlff.data.records import Record
from training.errors import InputError

Way = Literal["auto", "trajectory", "blocks", "frames"]

# With fewer, one trajectory more or less in the validation set is a large part of the data.
ENOUGH_TRAJECTORIES = 5

# Contiguous pieces that a trajectory's validation frames are taken in, so that they see all of its phases.
BLOCKS = 5

# Å; far below what a thermal vibration moves an atom between two frames, far above what a text file rounds off.
SAME_GEOMETRY = 1e-4


@dataclass(frozen=True)
class Split:
    """Indices of structures by role, ascending and disjoint.

    Attributes:
        train, validation, test: (n,) indices each.
        note: how they were chosen, in words for log and report.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    note: str


def split_by_trajectory(
    records: Sequence[Record],
    held_out: Collection[str] = (),
    validation: float | int = 0.1,
    way: Way = "auto",
    seed: int = 0,
) -> Split:
    """Divide structures into training, validation and test sets; a pure function of its arguments.

    Args:
        records: the structures to divide, all usable.
        held_out: trajectories that are the test set, whole.
        validation: the wanted number of validation structures (int) or their share of what is not held out (float).
        way: ``trajectory`` takes whole trajectories for validation; ``blocks`` contiguous pieces of every trajectory;
            ``frames`` frames at random; ``auto`` is ``trajectory`` from five trajectories on and ``frames`` below.
        seed: of the random choice.

    Returns:
        The split. Structures whose geometry also occurs in a set that judges are left out of the training set (out of
        validation, where the test set has them), with their number in the note.

    Raises:
        InputError: if a held-out name does not occur, or nothing is left for a set.
    """
    names = np.array([record.trajectory for record in records], dtype=object)
    unknown = sorted(set(held_out) - set(names))
    if unknown:
        raise InputError(f"The held-out trajectories {unknown} are not among the data: {sorted(set(names))}.")
    is_test = np.isin(names, list(held_out))
    pool, test = np.flatnonzero(~is_test), np.flatnonzero(is_test)
    wanted = _wanted(validation, len(pool))
    chosen, note = _choose(names, pool, wanted, way, np.random.default_rng(seed))
    held = f" Held out for the test: {len(test)} structures of {', '.join(sorted(held_out))}." if len(test) else ""
    split = Split(np.setdiff1d(pool, chosen), np.sort(chosen), test, note + held)
    return _without_shared_geometries(split, records)


def without_geometries_of(records: Sequence[Record], judges: Sequence[Record]) -> tuple[list[Record], str]:
    """The records whose geometry does not occur among ``judges``, and a note on those left out ("" if none).

    For a test set in a file of its own: what it holds must not be trained on.
    """
    seen = {geometry_key(record.atoms) for record in judges}
    kept = [record for record in records if geometry_key(record.atoms) not in seen]
    left_out = len(records) - len(kept)
    return kept, f"{left_out} structures also occur in the test set and are left out of training." if left_out else ""


def geometry_key(atoms: Atoms) -> bytes:
    """A digest that structures share if elements, cell and positions agree to 1e-4 Å; molecules may be shifted."""
    positions = atoms.positions if atoms.pbc.any() else atoms.positions - atoms.positions.mean(axis=0)
    cell = np.where(atoms.pbc[:, None], atoms.cell.array, 0.0)
    # adding zero turns −0.0, which has other bytes, into 0.0
    rounded = np.rint(np.concatenate([positions, cell]) / SAME_GEOMETRY) + 0.0
    content = np.asarray(atoms.numbers, dtype=np.int32).tobytes() + rounded.tobytes() + atoms.pbc.tobytes()
    return hashlib.sha256(content).digest()


def _wanted(validation: float | int, available: int) -> int:
    count = validation if isinstance(validation, int) else math.ceil(validation * available)
    if not 1 <= count < available:
        raise InputError(
            f"{count} of {available} structures are asked for validation; at least one is needed there and at least "
            "one for training. Change data.validation or provide more structures."
        )
    return count


def _choose(
    names: np.ndarray, pool: np.ndarray, wanted: int, way: Way, random: np.random.Generator
) -> tuple[np.ndarray, str]:
    """Indices for validation and how they were chosen."""
    present = sorted(set(names[pool]))
    whole = way == "trajectory" or (way == "auto" and len(present) >= ENOUGH_TRAJECTORIES)
    if whole:
        return _whole_trajectories(names, pool, present, wanted, random)
    if way == "blocks":
        chosen = np.concatenate([_blocks(pool[names[pool] == name], wanted / len(pool)) for name in present])
        return chosen, (
            f"Validation: {len(chosen)} of {len(pool)} structures in contiguous blocks of {_several(present)}; "
            "structures at the blocks' ends resemble their neighbours in the training set."
        )
    chosen = random.choice(pool, wanted, replace=False)
    return chosen, (
        f"Validation: {len(chosen)} of {len(pool)} structures drawn at random (seeded) from {_several(present)}. "
        "Frames of one trajectory resemble each other: the error on another trajectory may be larger; data.test=FILE "
        "measures it."
    )


def _whole_trajectories(
    names: np.ndarray, pool: np.ndarray, present: Sequence[str], wanted: int, random: np.random.Generator
) -> tuple[np.ndarray, str]:
    if len(present) < 2:
        raise InputError(
            f"Validation by trajectory needs at least two trajectories besides the held-out ones; there is {present}. "
            "Sample more trajectories, or choose data.split=blocks or data.split=frames."
        )
    taken: list[str] = []
    count = 0
    for name in random.permutation(np.array(present, dtype=object))[:-1]:
        if count >= wanted:
            break
        taken.append(name)
        count += int((names[pool] == name).sum())
    chosen = pool[np.isin(names[pool], taken)]
    return chosen, (
        f"Validation: {len(chosen)} of {len(pool)} structures, the whole of {len(taken)} of {len(present)} "
        f"trajectories ({', '.join(sorted(taken))})."
    )


def _blocks(indices: np.ndarray, share: float) -> np.ndarray:
    """The end of each of a few equal pieces of a trajectory, together about a share of it."""
    pieces = np.array_split(indices, min(BLOCKS, max(1, round(share * len(indices)))))
    return np.concatenate([piece[len(piece) - math.ceil(share * len(piece)) :] for piece in pieces])


def _without_shared_geometries(split: Split, records: Sequence[Record]) -> Split:
    """Take out of the training set what validation or test hold, and out of validation what the test holds."""
    keys = {i: geometry_key(records[i].atoms) for i in np.concatenate([split.train, split.validation, split.test])}
    in_test = {keys[i] for i in split.test}
    validation = np.array([i for i in split.validation if keys[i] not in in_test], dtype=np.int64)
    judging = in_test | {keys[i] for i in validation}
    train = np.array([i for i in split.train if keys[i] not in judging], dtype=np.int64)
    left_out = len(split.train) - len(train) + len(split.validation) - len(validation)
    if len(train) == 0 or len(validation) == 0:
        raise InputError(
            f"After leaving out {left_out} structures whose geometry occurs in a set that judges, nothing is left for "
            f"{'training' if len(train) == 0 else 'validation'}. The data repeat themselves: remove the copies."
        )
    note = f" {left_out} structures with a geometry of a judging set were left out." if left_out else ""
    return replace(split, train=train, validation=validation, note=split.note + note)


def _several(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} trajectories"
