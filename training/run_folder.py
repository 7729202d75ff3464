"""The folder a run lives in: found again by the same command, used by one process at a time, never overwritten."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from training.errors import ConfigurationError, InputError
from training.files import write_json_atomically, write_text_atomically

NOT_IDENTITY = ("run", "tracker", "hardware", "engine", "checkpoint_seconds", "profile", "hydra")
"""Parts of the configuration that say how and where a run is made, not what it computes; they may change on resume."""

CONFIG, PHASES, LOCK = "config.yaml", "phases.json", ".lock"

BOOKKEEPING = {CONFIG, PHASES, LOCK, "environment.json", "metrics.jsonl", "wandb"}
"""What stands in a folder before anything is computed that is worth keeping."""


class RunFolder:
    """One run's folder, locked by this process until `close`; open it with `RunFolder.open`.

    Attributes:
        path: the folder.
        name: the run's name, the last part of the path.
        resumed: whether an earlier process has worked here.
    """

    def __init__(self, path: Path, lock: int, resumed: bool) -> None:
        self.path = path
        self.name = path.name
        self.resumed = resumed
        self._lock: int | None = lock

    @classmethod
    def open(cls, root: Path, experiment: str, name: str | None, config: Mapping[str, Any], resume: bool) -> RunFolder:
        """Find or make ``root/experiment/name``.

        Args:
            root: where all runs live.
            experiment: the first folder below the root.
            name: the second; made of seed and configuration if None, so that a changed configuration gets its own.
            config: plain, resolved configuration of the run.
            resume: False puts the run beside an existing one, with a number behind the name.

        Raises:
            ConfigurationError: if a folder of the given name belongs to a run with another configuration, or a name
                is not usable as a folder.
            InputError: if the folder is in use by another process, or cannot be written.
        """
        for word in (experiment, name):
            if (word is not None and not re.fullmatch(r"[\w.+-]+", word)) or word in (".", ".."):
                raise ConfigurationError(f"{word!r} cannot name a folder; use letters, digits and . _ + - only.")
        parent = Path(root).expanduser() / experiment
        path = parent / (default_name(config) if name is None else name)
        try:
            if not resume:
                path = _make_beside(path)
            path.mkdir(parents=True, exist_ok=True)
            lock = _lock(path)
        except OSError as error:
            raise InputError(
                f"The run folder {path} cannot be written: {error.strerror}. Choose another with run.root=FOLDER."
            ) from error
        try:
            resumed = (path / CONFIG).exists()
            if resumed:
                _require_same(path, config)
            _remove_partial_files(path)
            write_text_atomically(path / CONFIG, OmegaConf.to_yaml(OmegaConf.create(dict(config))))
        except BaseException:
            os.close(lock)
            raise
        return cls(path, lock, resumed)

    def done(self, phase: str) -> bool:
        """Whether an earlier or this process has finished the phase."""
        return phase in self._phases()

    def mark_done(self, phase: str, summary: Mapping[str, Any] | None = None) -> None:
        """Record, in one atomic step, that a phase is complete, with its numbers."""
        write_json_atomically(self.path / PHASES, {**self._phases(), phase: dict(summary or {})})

    def summary(self, phase: str) -> dict[str, Any]:
        """The numbers recorded when the phase was finished.

        Raises:
            KeyError: if it is not finished.
        """
        return self._phases()[phase]

    def discard_if_empty(self) -> None:
        """Remove a folder that this process made and in which nothing was computed, for an input that was refused."""
        if self.resumed or {file.name for file in self.path.iterdir()} - BOOKKEEPING:
            return
        shutil.rmtree(self.path)
        parent = self.path.parent
        if not any(parent.iterdir()):
            parent.rmdir()

    def close(self) -> None:
        """Let other processes use the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _phases(self) -> dict[str, Any]:
        file = self.path / PHASES
        return json.loads(file.read_text()) if file.exists() else {}


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of the configuration decides the result."""
    return {key: value for key, value in config.items() if key not in NOT_IDENTITY}


def default_name(config: Mapping[str, Any]) -> str:
    """``seed0-3fa2b1``: the seed, and six hexadecimal digits of the configuration's hash."""
    text = json.dumps(identity(config), sort_keys=True, default=str)
    return f"seed{config.get('seed', 0)}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted keys whose values differ, each with its old and new value; a value that is not there is ``"absent"``."""
    flat_old, flat_new = _flat(identity(old)), _flat(identity(new))
    return {
        key: (flat_old.get(key, "absent"), flat_new.get(key, "absent"))
        for key in [*flat_old, *(key for key in flat_new if key not in flat_old)]
        if flat_old.get(key, "absent") != flat_new.get(key, "absent")
    }


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping) and value:
        flat: dict[str, Any] = {}
        for key, inner in value.items():
            flat.update(_flat(inner, f"{prefix}.{key}" if prefix else str(key)))
        return flat
    return {prefix: value}


def _require_same(path: Path, config: Mapping[str, Any]) -> None:
    old = OmegaConf.to_container(OmegaConf.load(path / CONFIG))
    assert isinstance(old, dict)
    # through YAML, so that tuples and other spellings of the same value compare equal
    new = OmegaConf.to_container(OmegaConf.create(OmegaConf.to_yaml(OmegaConf.create(dict(config)))))
    assert isinstance(new, dict)
    changed = differences({str(key): value for key, value in old.items()}, {str(k): v for k, v in new.items()})
    if changed:
        lines = "\n".join(f"  {key}: was {before!r}, is {after!r}" for key, (before, after) in changed.items())
        raise ConfigurationError(
            f"{path} holds a run with another configuration:\n{lines}\nChoose another run.name (or none: a changed "
            "configuration then gets its own folder), run.resume=false to start beside it, or restore these values."
        )


def _make_beside(path: Path) -> Path:
    """The first free name of ``path``, ``path-2``, ``path-3``, …, made here so that no other process takes it."""
    number = 1
    while True:
        candidate = path if number == 1 else path.with_name(f"{path.name}-{number}")
        try:
            candidate.mkdir(parents=True)
            return candidate
        except FileExistsError:
            number += 1


def _lock(path: Path) -> int:
    descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 32, 0).decode().strip()
        os.close(descriptor)
        raise InputError(
            f"Process {holder or '(unknown)'} is working in {path}. Wait for it, stop it, or start beside it with "
            "run.resume=false."
        ) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


def _remove_partial_files(path: Path) -> None:
    """What a killed process left unfinished; only this process may be writing here."""
    for file in path.rglob(".*.partial"):
        file.unlink(missing_ok=True)
