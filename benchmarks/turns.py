"""Sides of a comparison at work in turn, and their times by case: what `md_step.py` and `train_step.py` share."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peers import CLOCKS, PEERS, Answer, Worker, table
from results_file import asked, keep

OURS = "limbeck"
"""The side that the others are compared with."""


@dataclass(frozen=True)
class Turn:
    """What every side is asked for, one after the other.

    Attributes:
        case: the row of the table that the times belong to.
        request: to the worker.
        counts: whether the times count, or only warm the process up.
    """

    case: Any
    request: dict[str, Any]
    counts: bool = True


def options(description: str | None, results: Path, rounds: int) -> argparse.ArgumentParser:
    """A parser with the options of every comparison."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=rounds, help="how often the sides take turns at a case")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: for a busy machine, with one thread")
    parser.add_argument("--against", nargs="*", choices=PEERS, default=list(PEERS), help="nothing: ours alone")
    parser.add_argument("--environments", type=Path, help="folder of the peers' environments, made where missing")
    parser.add_argument("--output", type=Path, default=results)
    return parser


def interpreters(arguments: argparse.Namespace) -> dict[str, str]:
    """The Python of every side; a peer that cannot be installed is left out, loudly."""
    found = {OURS: sys.executable}
    for name in arguments.against:
        python = PEERS[name].python(arguments.environments)
        if python is None:
            print(
                f"{PEERS[name].title} could not be installed; pip says why above. Measuring without.", file=sys.stderr
            )
        else:
            found[name] = str(python)
    return found


def take_turns(
    script: str,
    sides: dict[str, str],
    turns: Sequence[Turn],
    arguments: argparse.Namespace,
    role: Callable[[str], Sequence[str]] = lambda side: (side,),
) -> list[Answer]:
    """The answers of every side, process and turn that counts.

    Args:
        script: of the workers; called with the number of threads and the side's role.
        sides: the Python of each.
        turns: of every process.
        arguments: from `options`.
        role: what a side's worker is told to be.
    """
    rows: list[Answer] = []
    for process in range(arguments.processes):
        workers = {
            side: Worker(python, script, str(arguments.threads), *role(side), threads=arguments.threads)
            for side, python in sides.items()
        }
        for turn in turns:
            for side, worker in workers.items():
                answer = worker.ask(**turn.request, clock=arguments.clock)
                if turn.counts:
                    rows.append({"process": process, "side": side, "case": turn.case, **answer})
        for worker in workers.values():
            worker.__exit__(None, None, None)
    return rows


def medians(rows: Sequence[Answer], sides: Sequence[str]) -> list[dict[str, Any]]:
    """For every case the sides' median and least times in ms, peak memory in MB, and the others' times over ours."""
    lines = []
    for case in dict.fromkeys(row["case"] for row in rows):
        line: dict[str, Any] = {"case": case}
        for side in sides:
            found = [row for row in rows if (row["side"], row["case"]) == (side, case)]
            times = [seconds for row in found for seconds in row["seconds"]]
            line[side] = statistics.median(times) * 1e3
            line[f"{side} least"] = min(times) * 1e3
            line[f"{side} MB"] = max(row["peak_MB"] for row in found)
            if side != OURS:
                line[f"{side} ratio"] = line[side] / line[OURS]
        lines.append(line)
    return lines


def report(
    lines: list[dict[str, Any]], rows: list[Answer], sides: Sequence[str], arguments: argparse.Namespace, **more: Any
) -> None:
    """Print the table, and keep every time in the file of results.

    Args:
        lines: from `medians`.
        rows: from `take_turns`.
        sides: columns of the table.
        arguments: from `options`; they are kept too.
        more: what else belongs into the file.
    """
    columns = {"case": "case"}
    for side in sides:
        title = PEERS[side].title if side in PEERS else side
        columns |= {side: f"{title} (ms)", f"{side} least": "least", f"{side} MB": "peak (MB)"}
        if side != OURS:
            columns[f"{side} ratio"] = "ratio"
    print(table(lines, columns))
    keep(arguments.output, **asked(arguments), summary=lines, times=rows, **more)
