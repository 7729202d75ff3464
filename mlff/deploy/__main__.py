"""``python -m mlff.deploy``: molecular dynamics of many systems with a distilled student, from the shell."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

MANUAL = """\
Molecular dynamics of many systems at once with a distilled student.

  python -m mlff.deploy start.extxyz --student checkpoints/reference/aspirin_gfn2 --folder md --duration-ps 10 \\
      --temperature-K 300

reads every frame of start.extxyz (any format that ASE reads; several files are joined), gives each velocities of 300 K
unless it has momenta, and runs them together for 10 ps at constant energy. The same command goes on after a kill, and
does nothing once it is finished; a longer duration makes it longer.
"""

EXAMPLES = """\
examples
  constant temperature      --ensemble langevin --temperature-K 300 --friction-per-ps 10
  constant pressure         --ensemble npt --temperature-K 300 --pressure-GPa 0.0001
  64 copies of a molecule   --copies 64 --seed 1        (each with velocities and noise of its own)
  where does the time go    --profile

what is in the folder
  trajectory/               one file per system: positions, momenta, forces, energy (ase gui, ase.io.read, OVITO)
  observables.csv           energies, temperature, pressure, volume of every system
  summary.json              failed systems, speed, settings
  state.safetensors         what a restart needs

A system that breaks (atoms on top of each other, a temperature beyond all bounds, a number that is none) is frozen
where it was last well, named here and in summary.json; the others go on.

exit codes: 0 finished; 2 an input is not usable; 3 finished, but systems failed; 75 stopped on request, state saved.
"""

PARTIAL_FAILURE = 3


def parser() -> argparse.ArgumentParser:
    """The command line; options are the settings of `mlff.deploy.batched_md.settings.SimulationSettings`."""
    command = argparse.ArgumentParser(
        prog="python -m mlff.deploy",
        description=MANUAL,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("structures", nargs="+", help="files with structures to start from; every frame is a system")
    need = command.add_argument_group("needed")
    need.add_argument("--student", required=True, help="student.safetensors, or the folder of a run that holds it")
    need.add_argument("--folder", required=True, help="for all files; empty, or that of the same simulation")
    need.add_argument("--duration-ps", type=float, required=True, help="length in ps")
    physics = command.add_argument_group("physics")
    physics.add_argument("--ensemble", choices=["nve", "langevin", "npt"], help="nve unless given")
    physics.add_argument("--time-step-fs", type=float, help="0.5 unless given; 2 without hydrogen")
    physics.add_argument("--temperature-K", type=float, help="of velocities at the start, and of the bath")
    physics.add_argument("--friction-per-ps", type=float, help="of the bath; 1 unless given")
    physics.add_argument("--pressure-GPa", type=float, help="for npt; 0 unless given")
    physics.add_argument("--compressibility-per-GPa", type=float, help="a guess, for npt; 0.46 (water) unless given")
    physics.add_argument("--pressure-relaxation-ps", type=float, help="for npt; 1 unless given")
    physics.add_argument("--seed", type=int, help="of velocities and noise; 0 unless given")
    physics.add_argument("--copies", type=int, default=1, help="of every structure; 1 unless given")
    output = command.add_argument_group("output")
    output.add_argument("--trajectory", choices=["extxyz", "traj", "hdf5", "none"], help="extxyz unless given")
    output.add_argument("--frame-every", type=int, help="steps between frames; 100 unless given")
    output.add_argument("--observables", choices=["csv", "jsonl"], help="csv unless given")
    output.add_argument("--observe-every", type=int, help="steps between observations; 100 unless given")
    output.add_argument("--save-seconds", type=float, help="between saves of the state; 20 unless given")
    output.add_argument("--profile", action="store_true", help="print where the time went, and the bottleneck")
    machine = command.add_argument_group("machine")
    machine.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 …; auto takes a GPU if there is one")
    machine.add_argument("--dtype", choices=["float32", "float64"], default="float32", help="of the network")
    machine.add_argument("--skin", type=float, help="Å beyond the cutoff in neighbour lists; 0.5 unless given")
    machine.add_argument("--max-edges", type=int, help="edges that go through the network together; bounds the memory")
    machine.add_argument("--largest-temperature-K", type=float, help="above, a system has exploded; 20000 unless given")
    return command


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    values: dict[str, Any] = vars(parser().parse_args(words))
    # matrix products round alike in every process, however busy the machine, so a continued run equals another
    os.environ.setdefault("MKL_DYNAMIC", "FALSE")
    os.environ.setdefault("MKL_CBWR", "AUTO")
    from mlff.deploy.batched_md.simulation import simulate
    from training.errors import LimbeckError

    files, copies = values.pop("structures"), values.pop("copies")
    given = {name: value for name, value in values.items() if value is not None}
    if given.get("trajectory") == "none":
        given["trajectory"] = None
    try:
        result = simulate(_read(files, copies), **given)
    except LimbeckError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return PARTIAL_FAILURE if result.failed else 0


def _read(files: Sequence[str], copies: int) -> list[Any]:
    """All frames of all files, each as often as asked for, copies side by side."""
    from ase.io import read
    from ase.io.formats import UnknownFileTypeError

    from training.errors import InputError

    if copies < 1:
        raise InputError(f"--copies is a number of systems, 1 or more; got {copies}.")
    structures: list[Any] = []
    for file in files:
        try:
            structures += read(file, ":")
        except (OSError, UnknownFileTypeError, ValueError, KeyError, IndexError) as error:
            raise InputError(f"{file} cannot be read as structures: {error}") from error
    return [atoms for atoms in structures for _ in range(copies)]


if __name__ == "__main__":
    sys.exit(main())
