"""A labelling run as a command, for the tests that kill it: ``python label_run.py FOLDER ENGINE``."""

import sys
from pathlib import Path

import numpy as np
from ase.build import molecule

from mlff.data.records import Record
from mlff.data.store import LabelStore
from mlff.teachers.labelling import label
from mlff.teachers.settings import LabellingSettings, TeacherSettings
from mlff.teachers.teacher import Teacher
from training.engines import EngineSettings
from training.progress import Progress


def records():
    """Rattled methane on three trajectories: 96 structures of 1 to 2 ms each."""
    random = np.random.default_rng(7)
    made = []
    for number in range(96):
        atoms = molecule("CH4")
        atoms.positions += random.normal(scale=0.05, size=atoms.positions.shape)
        made.append(Record(atoms, f"trajectory {number // 32}", "rattled"))
    return made


def teacher():
    """GFN2-xTB, whose answers depend a little on the call before."""
    arguments = {"method": "GFN2-xTB", "verbosity": 0}
    return Teacher(TeacherSettings(name="xTB", calculator="tblite.ase.TBLite", arguments=arguments))


def run(folder, engine):
    """Label all records, eight in a shard; returns the store."""
    store = LabelStore.open_or_create(Path(folder), teacher().describe())
    settings = LabellingSettings(shard_size=8)
    label(records(), teacher(), store, EngineSettings(kind=engine).build(), settings, Progress())
    return store


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2])
