"""Files that are either whole or absent: written beside their place, flushed to the disk, and renamed into it."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from training.errors import InputError


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a temporary file in the target's folder, then put it in place in one step.

    The temporary file lies in the same folder because a rename is atomic only within one disk; file and folder are
    flushed, so that the content survives a loss of power. A killed process leaves the former file untouched.

    Raises:
        InputError: if the folder cannot be written or the disk is full; the target is unchanged.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    except OSError as error:
        raise InputError(
            f"Cannot write into {path.parent}: {error.strerror}. Choose a folder you may write to."
        ) from error
    os.close(descriptor)
    temporary = Path(name)
    try:
        write(temporary)
        flush(temporary)
        # mkstemp makes the file private; give it the rights an ordinary new file would have
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
        flush(path.parent)
    except OSError as error:
        raise InputError(
            f"Writing {path} failed: {error.strerror or error}. Free some space or choose another folder, then run the "
            "same command again; everything written before is kept."
        ) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def write_text_atomically(path: Path, text: str) -> None:
    """Write UTF-8 text; see `write_atomically`."""
    write_atomically(path, lambda temporary: _write_bytes(temporary, text.encode()))


def write_json_atomically(path: Path, value: Any) -> None:
    """Write JSON with stable key order of insertion; NaN and infinities are refused because JSON has none."""
    write_text_atomically(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def flush(path: Path) -> None:
    """Wait until a file's content, or a folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
