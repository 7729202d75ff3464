"""The edge to the shell: Hydra's errors in plain words, many runs of one command, and one exit code for all."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from training.composition import REFUSALS, explain
from training.errors import ConfigurationError, Interrupted, LimbeckError

MANY_RUNS = ("-m", "--multirun")

SWEEPER = "hydra/sweeper="
"""Who names a sweeper of Hydra's gets it, with what it can do."""


def report_exit_code(command: Callable[[], None], exit_codes: list[int], configs: Path) -> NoReturn:
    """Call the command and leave the process with the code of the worst run.

    Args:
        command: a function decorated by ``hydra.main``; it reads the command line.
        exit_codes: filled by the command, one code for each run.
        configs: the folder of YAML files that the command reads.
    """
    # with this set, Hydra raises instead of printing its own advice and a shortened trace
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    # threads that spin while they wait cost nothing on idle cores, but beside one other busy process they make a small
    # network's step ten times slower; read once, when the numerical libraries are loaded
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # matrix products round alike in every run, however busy the machine: a resumed run equals an uninterrupted one
    os.environ.setdefault("MKL_DYNAMIC", "FALSE")
    os.environ.setdefault("MKL_CBWR", "AUTO")
    try:
        if wants_sweep(sys.argv[1:]):
            exit_codes.append(_sweep(configs))
        else:
            _refuse_words_about_a_sweep()
            command()
    except LimbeckError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    except REFUSALS as error:
        overrides = [word for word in sys.argv[1:] if "=" in word and not word.startswith("-")]
        print(explain(error, overrides, configs), file=sys.stderr)
        sys.exit(ConfigurationError.exit_code)
    sys.exit(worst(exit_codes))


def wants_sweep(arguments: Sequence[str]) -> bool:
    """Whether the words ask for many runs; with any other option, such as ``--help`` or ``--cfg``, Hydra answers."""
    options = [word for word in arguments if word.startswith("-")]
    return (
        bool(options)
        and all(option in MANY_RUNS for option in options)
        and not any(word.startswith(SWEEPER) for word in arguments)
    )


def worst(exit_codes: list[int]) -> int:
    """An interruption tells more than a failure, and an error more than a gate that is not met."""
    order = [0, 3, 2, 1, Interrupted.exit_code]
    return max(exit_codes, key=lambda code: order.index(code) if code in order else len(order), default=0)


def _sweep(configs: Path) -> int:
    # takes long to import, which --help and a single run need not wait for
    from training.sweeps.sweep import run_sweep

    words = [word for word in sys.argv[1:] if word not in MANY_RUNS]
    try:
        return run_sweep(words, configs)
    except KeyboardInterrupt:
        print("Stopped at once; finished runs are kept. Run the same command to go on.", file=sys.stderr)
        return Interrupted.exit_code


def _refuse_words_about_a_sweep() -> None:
    about = [word for word in sys.argv[1:] if word.lstrip("+").startswith(("sweep=", "sweep."))]
    if about and not any(word.startswith("-") for word in sys.argv[1:]):
        raise ConfigurationError(f"{about[0]} is about many runs: python train.py -m {' '.join(sys.argv[1:])}")
