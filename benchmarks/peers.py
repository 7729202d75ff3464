"""Other packages beside this one: an environment for them, and processes that work in turn.

Nothing but the standard library is imported here, because both sides of a comparison import it.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

ENVIRONMENT = Path(__file__).parent / ".venv" / "peers"
"""Where the other packages are installed."""

ANSWERS = "LIMBECK_ANSWERS"
"""Environment variable: the number of the open file that a worker writes its answers to."""

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
"""The clock on the wall, or that of the process: for a machine with other work, with one thread."""

Answer = dict[str, Any]


def environment(folder: Path, requirement: str, module: str, needs: Sequence[str] = ()) -> Path | None:
    """The Python of an environment with a package, made where it is missing.

    The environment sees the packages of the running one behind its own, so both sides use the same PyTorch, and none of
    the large packages is installed twice.

    Args:
        folder: of the environment.
        requirement: as pip takes it, "deepxde==1.15.*".
        module: that it brings.
        needs: what is installed with it instead of all that it asks for, where that would bring another PyTorch.

    Returns:
        None if it cannot be installed; pip has said why.
    """
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        seen = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
        (seen / "behind.pth").write_text(sysconfig.get_path("purelib") + "\n")
    # found, not imported: an import takes seconds
    known = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    if subprocess.run([python, "-c", known]).returncode:
        pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        commands = [[*pip, *needs], [*pip, "--no-deps", requirement]] if needs else [[*pip, requirement]]
        if any(subprocess.run(command, stdout=sys.stderr).returncode for command in commands):
            return None
    return python


@dataclass(frozen=True)
class Peer:
    """A package with a PaiNN of its own.

    Attributes:
        title: for tables.
        requirement: as pip takes it.
        module: that it brings.
        needs: see `environment`.
    """

    title: str
    requirement: str
    module: str
    needs: tuple[str, ...] = ()

    def python(self, folder: Path | None = None) -> Path | None:
        """The Python of its environment, in a folder of all environments or the default one; see `environment`."""
        at = (folder or ENVIRONMENT.parent) / self.module
        return environment(at, self.requirement, self.module, self.needs)


PEERS = {
    # asks for sympy before 1.13, which every recent PyTorch refuses, and for tools of its developers
    "schnetpack": Peer(
        "SchNetPack 2.1.1",
        "schnetpack==2.1.1",
        "schnetpack",
        (
            "h5py",
            "hydra-colorlog",
            "fasteners",
            "dirsync",
            "torch-ema",
            "matscipy>=1.1.0",
            "tensorboard",
            "tensorboardX",
        ),
    ),
    "graph_pes": Peer("graph-pes 1.0.2", "graph-pes==1.0.2", "graph_pes"),
}
"""By the name of their side in a comparison."""


class Worker:
    """A process that answers requests, one JSON document on a line each; it waits in between.

    Args:
        python: the interpreter.
        script: in this folder; it calls `serve`.
        arguments: of the script.
        threads: of all numerical libraries.
    """

    def __init__(self, python: str | Path, script: str, *arguments: str, threads: int) -> None:
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
        surroundings = os.environ | dict.fromkeys(names, str(threads)) | {"DDE_BACKEND": "pytorch"}
        self.script = script
        read, write = os.pipe()
        # libraries print on the standard output what they like
        self.process = subprocess.Popen(
            [str(python), str(Path(__file__).with_name(script)), *arguments],
            stdin=subprocess.PIPE,
            stdout=sys.stderr,
            env=surroundings | {ANSWERS: str(write)},
            pass_fds=[write],
            text=True,
        )
        os.close(write)
        self._answers = os.fdopen(read)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        self._answers.close()

    def ask(self, **request: Any) -> Answer:
        """Send a request and wait for its answer.

        Raises:
            RuntimeError: if the process ends instead; its own words stand on the standard error.
        """
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self._answers.readline()
        if not line:
            raise RuntimeError(f"{self.script} ended with exit code {self.process.wait()} instead of an answer.")
        answer: Answer = json.loads(line)
        return answer


def serve(answer: Callable[..., Answer]) -> None:
    """Answer a `Worker`'s requests until there are none."""
    with os.fdopen(int(os.environ[ANSWERS]), "w") as out:
        for line in sys.stdin:
            out.write(json.dumps(answer(**json.loads(line))) + "\n")
            out.flush()


def peak_MB() -> float:
    """Largest resident memory of this process so far, in MB."""
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # kilobytes on Linux, bytes on macOS
    return largest / 1e6 if sys.platform == "darwin" else largest * 1024 / 1e6


def table(rows: list[dict[str, Any]], columns: dict[str, str]) -> str:
    """Rows as markdown.

    Args:
        rows: values by name.
        columns: headings by name.
    """
    lines = ["| " + " | ".join(columns.values()) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(_cell(row.get(name)) for name in columns) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
