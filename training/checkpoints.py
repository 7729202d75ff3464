"""Checkpoints that survive a kill at any moment: written whole, the former one kept, verified before use."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import CheckpointIO

from training.errors import InputError
from training.files import flush, write_atomically

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"


class AtomicCheckpointIO(CheckpointIO):
    """Lightning's reading and writing of checkpoints, without a moment in which a good file is gone.

    Lightning writes into the system's temporary folder and copies when that is another disk; a kill during the copy
    leaves an empty checkpoint. Here the new file is flushed beside the old one, the old one becomes ``previous.ckpt``,
    and the new one takes its place, each in one step.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write ``path``; the file that was there is kept as ``previous.ckpt``.

        Raises:
            InputError: if the disk is full or the folder cannot be written; both former files are unchanged.
        """
        path = Path(path)
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)

        def write(temporary: Path) -> None:
            temporary.write_bytes(buffer.getbuffer())

        fresh = path.with_name(f".{path.name}.complete.partial")
        write_atomically(fresh, write)
        if path.exists():
            path.replace(path.with_name(PREVIOUS))
        fresh.replace(path)
        flush(path.parent)

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: bool | None = True) -> Any:
        """Read a verified checkpoint; only tensors and plain values, whatever Lightning asks for.

        Raises:
            InputError: if the file is damaged.
        """
        verify(Path(path))
        return torch.load(path, map_location=map_location or "cpu", weights_only=True)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete one file."""
        Path(path).unlink(missing_ok=True)


def verify(path: Path) -> None:
    """Read every record of a checkpoint and compare it with its checksum.

    Raises:
        InputError: if the file is cut off or changed.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise InputError(f"The checkpoint {path} is damaged ({error}).") from error
    if damaged is not None:
        raise InputError(f"The checkpoint {path} is damaged (checksum of {damaged}).")


def find_checkpoint(folder: Path, say: Callable[[str], None]) -> tuple[Path, dict[str, Any]] | None:
    """The newest usable checkpoint of a run folder and its content, or None where there is none.

    Args:
        folder: the run folder.
        say: called with a line for the user if the newest one cannot be used.

    Raises:
        InputError: if there are checkpoints, but none can be read; starting over silently would lose the run.
    """
    reader = AtomicCheckpointIO()
    complaints = []
    for name in (LAST, PREVIOUS):
        path = folder / name
        if not path.exists():
            continue
        try:
            content = reader.load_checkpoint(path)
        except Exception as error:
            complaints.append(str(error))
            continue
        if complaints:
            say(f"WARNING: {complaints[0]} Continuing from {PREVIOUS}, saved a little earlier.")
            # out of the way, or the next save would put it in the place of the good one
            (folder / LAST).replace(folder / "last.ckpt.damaged")
        return path, content
    if complaints:
        raise InputError(" ".join(complaints) + " Delete these files to train this run anew, or use run.resume=false.")
    return None
