"""One MD step's energy and forces through ASE: the default student beside its teacher, GFN2-xTB, one thread each.

    python benchmarks/teacher_step.py [--processes 3] [--clock wall]

Ethanol, clusters of 9 and 50 molecules of water, and C60. The student has the size that ``train.py`` gives it and
random weights, which cost what trained ones do; the teacher has the settings it labels with. Inside the clock are
``get_forces`` and ``get_potential_energy``; the atoms have moved before every call, and the teacher starts from the
charges of the step before. The sides work in turn, in processes of their own; medians, and every time in
``results/teacher_step.json``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from turns import OURS, Turn, medians, options, report, take_turns

SYSTEMS = {"9 atoms": "CH3CH2OH", "27 atoms": "cluster 9", "C60": "C60", "150 atoms": "cluster 50"}
"""Rows of the table."""

STEPS = 8


def turns(rounds: int) -> Iterator[Turn]:
    """A few steps of each system that do not count, then the rounds."""
    for title, system in SYSTEMS.items():
        yield Turn(title, {"system": system, "steps": 2}, counts=False)
        for _ in range(rounds):
            yield Turn(title, {"system": system, "steps": STEPS})


def main() -> None:
    parser = options(__doc__, Path(__file__).parent / "results" / "teacher_step.json", rounds=3)
    parser.set_defaults(threads=1, against=[])
    arguments = parser.parse_args()
    sides = dict.fromkeys((OURS, "gfn2"), sys.executable)
    roles = {OURS: ["default_student"], "gfn2": ["gfn2"]}
    rows = take_turns("md_worker.py", sides, list(turns(arguments.rounds)), arguments, roles.__getitem__)
    report(medians(rows, [*sides]), rows, [*sides], arguments)


if __name__ == "__main__":
    main()
