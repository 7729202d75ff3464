"""The local dashboard: ``python -m training.dashboard`` serves every run under ``checkpoints/`` to a browser here.

The page is trackio's, served from the installed package on the loopback address. Neither the page nor this process
asks anything of another machine. Runs are read from their folders, so a run appears whether or not it was tracked
live, and keeps its place when the database is lost.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from training.errors import ConfigurationError, InputError, LimbeckError
from training.loggers.metrics_file import FILE_NAME
from training.loggers.trackio_store import DEFAULT_PROJECT, TrackioStore, import_run

REFRESH_SECONDS = 3.0


class RunFollower:
    """Keeps the dashboard's database in line with the run folders under a root.

    Args:
        root: the folder of all runs.
        say: receives one line per run that cannot be read; the others are shown.
    """

    def __init__(self, root: Path, say: Callable[[str], None]) -> None:
        self.root = Path(root)
        self._say = say
        self._seen: dict[Path, tuple[int, int]] = {}

    def refresh(self) -> list[Path]:
        """Take in every run whose ``metrics.jsonl`` has changed since the last call; returns those run folders."""
        changed = []
        for path in sorted(self.root.glob(f"*/*/{FILE_NAME}")):
            state = path.stat()
            stamp = (state.st_mtime_ns, state.st_size)
            if self._seen.get(path) == stamp:
                continue
            self._seen[path] = stamp
            try:
                import_run(path.parent, self.root)
            except InputError as error:
                self._say(f"{path.parent} is not shown: {error}")
            else:
                changed.append(path.parent)
        return changed

    def forget_deleted(self) -> None:
        """Drop runs from the database whose folders are gone."""
        store = TrackioStore(self.root, DEFAULT_PROJECT, "")
        for run in store.runs():
            if not (self.root / run / FILE_NAME).exists():
                store.forget(run)


def serve(root: Path, port: int | None) -> tuple[Any, str]:
    """Start the page on the loopback address.

    Args:
        root: the folder of all runs.
        port: None takes the first free one from 7860.

    Returns:
        The server, which ``close()`` stops, and the address of the page.

    Raises:
        ConfigurationError: if trackio is missing or the port is taken.
    """
    _stay_local()
    TrackioStore(root, DEFAULT_PROJECT, "")
    import trackio
    from trackio.frontend_config import BUNDLED_FRONTEND_DIR

    try:
        # its own lines name an address that may change runs; the one below only shows them
        with contextlib.redirect_stdout(io.StringIO()):
            server, local, _, _ = trackio.show(
                project=DEFAULT_PROJECT,
                host="127.0.0.1",
                server_port=port,
                share=False,
                mcp_server=False,
                open_browser=False,
                block_thread=False,
                frontend_dir=BUNDLED_FRONTEND_DIR,
            )
    except OSError as error:
        raise ConfigurationError(f"Port {port} is taken; choose another: make dashboard PORT=7870.") from error
    return server, f"{local.rstrip('/')}/?project={DEFAULT_PROJECT}"


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code. Ends with Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(
        prog="python -m training.dashboard",
        description="Show the runs of a folder in a browser on this machine: curves, figures, configs, comparison.",
    )
    parser.add_argument("--root", type=Path, default=Path("checkpoints"), help="folder of the runs (checkpoints)")
    parser.add_argument("--port", type=int, default=None, help="port of the page (the first free one from 7860)")
    options = parser.parse_args(arguments)
    try:
        if not options.root.is_dir():
            raise InputError(f"There is no folder {options.root}; name the folder of your runs with --root.")
        return _run(options.root, options.port)
    except LimbeckError as error:
        print(error, file=sys.stderr)
        return error.exit_code


def _run(root: Path, port: int | None) -> int:
    stop = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stop.set())
    server, address = serve(root, port)
    follower = RunFollower(root, lambda line: print(line, file=sys.stderr, flush=True))
    follower.forget_deleted()
    runs = follower.refresh()
    if not runs:
        print(f"No runs under {root} yet; they appear here as they start.", flush=True)
    print(f"Dashboard of {len(runs)} run(s): {address}   (Ctrl-C ends it)", flush=True)
    while not stop.wait(REFRESH_SECONDS):
        follower.refresh()
    server.close()
    return 0


def _stay_local() -> None:
    """Take from the environment whatever would make trackio or the hub's client look beyond this machine.

    Curves come before the final numbers on the page, unless the user has chosen an order.
    """
    for name in ("TRACKIO_BUCKET_ID", "TRACKIO_DATASET_ID", "TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "SPACE_ID"):
        os.environ.pop(name, None)
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["GRADIO_SHARE"] = "false"
    os.environ.setdefault("TRACKIO_PLOT_ORDER", "val/*,validation/*,train/*")


if __name__ == "__main__":
    sys.exit(main())
