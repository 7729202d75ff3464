"""A sampling run as a command, for the tests that kill it: ``python sample_run.py FOLDER ENGINE``."""

import sys
from pathlib import Path

from mlff.structures.sampling import sample
from mlff.structures.settings import StructureSettings
from mlff.structures.sources import load_seeds
from mlff.teachers.settings import TeacherSettings
from mlff.teachers.teacher import Teacher
from training.engines import EngineSettings
from training.progress import Progress

SETTINGS = StructureSettings(
    source="CH4",
    temperatures=[300, 600],
    trajectories=1,
    steps=120,
    thermalisation=20,
    stride=4,
    segment=10,
    held_out={"steps": 60},
)


def run(folder, engine):
    """Sample methane with GFN2-xTB, whose answers depend a little on the call before; returns the records."""
    arguments = {"method": "GFN2-xTB", "verbosity": 0}
    teacher = Teacher(TeacherSettings(name="xTB", calculator="tblite.ase.TBLite", arguments=arguments))
    seeds = load_seeds(SETTINGS.source)
    return sample(seeds, teacher, SETTINGS, EngineSettings(kind=engine).build(), Path(folder), Progress(), seed=4)


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2])
