"""Keeping computed references on the disk, under the fingerprint of everything that determines them."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from training.errors import InputError
from training.files import write_atomically

_log = logging.getLogger(__name__)

FORMAT = 1
"""Raised when the layout of the files changes; files of another format are not looked at."""


def cache_folder() -> Path:
    """``LIMBECK_CACHE`` if set, else ``limbeck`` below ``XDG_CACHE_HOME``, else ``~/.cache/limbeck``."""
    if folder := os.environ.get("LIMBECK_CACHE"):
        return Path(folder).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base).expanduser() if base else Path.home() / ".cache") / "limbeck"


def cached(
    name: str, settings: Mapping[str, Any], compute: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Arrays that were computed before with the same settings, or are computed and kept.

    A file that cannot be read, or that is not what its name promises, is computed anew with a warning. If the cache
    cannot be written, the arrays are computed, a warning says so, and nothing is kept.

    Args:
        name: what is computed, as a part of a file name.
        settings: everything the arrays depend on, as plain JSON values.
        compute: makes the arrays.

    Returns:
        The arrays by name.
    """
    description = json.dumps({"name": name, "format": FORMAT, "settings": dict(settings)}, sort_keys=True)
    fingerprint = hashlib.sha256(description.encode()).hexdigest()
    path = cache_folder() / "references" / f"{name}-{fingerprint[:16]}.safetensors"
    if path.exists():
        try:
            return _read(path, description)
        except (OSError, SafetensorError, ValueError) as error:
            warnings.warn(f"The kept reference {path} is not usable ({error}); it is computed anew.", stacklevel=2)
    _log.info("Computing the reference %s; it is kept in %s.", name, path.parent)
    arrays = {key: np.asarray(array, order="C") for key, array in compute().items()}
    metadata = {"description": description, "checksum": _checksum(arrays)}
    try:
        write_atomically(path, lambda temporary: save_file(arrays, temporary, metadata=metadata))
    except InputError as error:
        warnings.warn(
            f"The reference {name} cannot be kept, so every run computes it again: {error} "
            "LIMBECK_CACHE names the folder.",
            stacklevel=2,
        )
    return arrays


def _read(path: Path, description: str) -> dict[str, np.ndarray]:
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata() or {}
        if metadata.get("description") != description:
            raise ValueError("it describes something else")
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
    if metadata.get("checksum") != _checksum(arrays):
        raise ValueError("its content is damaged")
    return arrays


def _checksum(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for key in sorted(arrays):
        digest.update(f"{key} {arrays[key].dtype} {arrays[key].shape}".encode())
        digest.update(arrays[key].tobytes())
    return digest.hexdigest()
