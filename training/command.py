"""The edge to the shell: Hydra's errors in plain words, and one exit code for one or many runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from training.composition import REFUSALS, explain
from training.errors import ConfigurationError, Interrupted


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
        command()
    except REFUSALS as error:
        overrides = [word for word in sys.argv[1:] if "=" in word and not word.startswith("-")]
        print(explain(error, overrides, configs), file=sys.stderr)
        sys.exit(ConfigurationError.exit_code)
    sys.exit(worst(exit_codes))


def worst(exit_codes: list[int]) -> int:
    """An interruption tells more than a failure, and an error more than a gate that is not met."""
    order = [0, 3, 2, 1, Interrupted.exit_code]
    return max(exit_codes, key=lambda code: order.index(code) if code in order else len(order), default=0)
