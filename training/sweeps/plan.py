"""The runs of a sweep, every one composed and checked before the first is made."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel

from training.composition import compose
from training.configuration import plain, validate
from training.context import RunSettings
from training.errors import ConfigurationError
from training.run_folder import default_name, identity
from training.sweeps.combinations import Combination
from training.sweeps.words import reading

EXAMPLES = 3
"""Combinations named with a complaint that several have in common."""


@dataclass(frozen=True)
class PlannedRun:
    """One run, ready to be made.

    Attributes:
        id: the seed and six digits of the configuration's hash, as in the name of a run folder.
        values: what makes it different from the others, by key, as written.
        words: the whole command line of the run.
        folder: where it will live.
        config: composed and resolved.
    """

    id: str
    values: dict[str, str]
    words: tuple[str, ...]
    folder: Path
    config: dict[str, Any]


class Planner:
    """Composes and checks runs.

    Args:
        configs: the folder of YAML files.
        fixed: words every run has.
        halves: module prefixes of the code that a configuration may name.
        threads: of a run that does not say how many.
    """

    def __init__(self, configs: Path, fixed: Sequence[str], halves: Sequence[str], threads: int | None = None) -> None:
        self._configs, self._fixed, self._halves, self._threads = configs, tuple(fixed), tuple(halves), threads
        self._composed: dict[tuple[str, ...], DictConfig] = {}
        with reading(configs) as loader:
            self._groups = {name for name in loader.list_groups("") if name != "hydra"}

    def plan(self, combinations: Sequence[Combination]) -> list[PlannedRun]:
        """All runs; combinations that come to the same configuration are one run.

        Raises:
            ConfigurationError: names every complaint about any combination at once.
        """
        runs: dict[str, PlannedRun] = {}
        complaints: dict[str, list[str]] = {}
        # words that no run can have are explained once, not for every combination
        self._compose((*self._fixed, *(combinations[0] if combinations else ())))
        for combination in combinations:
            try:
                run = self.prepare(combination)
            except ConfigurationError as error:
                for line in str(error).splitlines()[1:] or [str(error)]:
                    complaints.setdefault(line.strip(), []).append(" ".join(combination) or "the only run")
                continue
            former = runs.setdefault(run.id, run)
            if identity(former.config) != identity(run.config):
                raise ConfigurationError(f"{former.words} and {run.words} are both called {run.id}; change the seed.")
        if complaints:
            lines = "\n".join(f"  {line} ({_whose(words)})" for line, words in complaints.items())
            raise ConfigurationError(f"The sweep cannot be run; nothing was started:\n{lines}")
        _require_own_folders(list(runs.values()))
        return list(runs.values())

    def prepare(self, combination: Combination) -> PlannedRun:
        """One run.

        Raises:
            ConfigurationError: if it cannot be composed, or is not valid.
        """
        words = (*self._fixed, *combination)
        config = plain(self._compose(words))
        settings = validate(config, self._schema(config))
        assert isinstance(settings, RunSettings)
        if not settings.run.resume:
            raise ConfigurationError(
                "run.resume=false: a sweep passes over what is finished; sweep.name=NAME begins another"
            )
        complete = settings.model_dump(mode="json")
        if self._threads is not None:
            if (settings.hardware.threads or 0) > self._threads:
                raise ConfigurationError(
                    f"hardware.threads={settings.hardware.threads}: a worker has {self._threads}; give it more with "
                    "sweep.threads_per_worker, or use fewer workers"
                )
            complete["hardware"]["threads"] = settings.hardware.threads or self._threads
        run_id = default_name(complete)
        folder = Path(settings.run.root) / settings.run.experiment / (settings.run.name or run_id)
        values = dict(word.split("=", 1) for word in combination)
        return PlannedRun(run_id, {key.lstrip("+"): value for key, value in values.items()}, words, folder, complete)

    def _compose(self, words: tuple[str, ...]) -> DictConfig:
        """As `compose` does it; single values are put into what their groups give, which is a hundred times faster."""
        choices = tuple(word for word in words if not self._is_single_value(word))
        if choices not in self._composed:
            self._composed[choices] = compose(choices, self._configs)
        config = self._composed[choices].copy()
        try:
            for word in words:
                if word not in choices:
                    key, _, value = word.partition("=")
                    OmegaConf.update(config, key, _parsed(value), merge=True)
        except (OmegaConfBaseException, ValueError):
            return compose(words, self._configs)
        return config

    def _is_single_value(self, word: str) -> bool:
        key = word.partition("=")[0]
        return not (key.startswith(("+", "~", "hydra")) or "@" in key or "/" in key or key in self._groups)

    def _schema(self, config: dict[str, Any]) -> type[BaseModel]:
        path = str(config.get("half", {}).get("settings"))
        if not path.startswith(self._halves):
            raise ConfigurationError(f"half.settings: {path!r} must begin with {' or '.join(self._halves)}")
        module, _, name = path.rpartition(".")
        try:
            return getattr(importlib.import_module(module), name)
        except (ModuleNotFoundError, AttributeError) as error:
            raise ConfigurationError(f"half.settings: there is no {path} ({error})") from error


def _parsed(value: str) -> Any:
    """A value as Hydra reads it behind the equals sign."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create().parse_override(f"key={value}").value()


def _require_own_folders(runs: Sequence[PlannedRun]) -> None:
    seen: dict[Path, PlannedRun] = {}
    for run in runs:
        other = seen.setdefault(run.folder, run)
        if other is not run:
            raise ConfigurationError(
                f"run.name={run.folder.name} would be the folder of several runs; leave it out, and each gets its own."
            )


def _whose(words: Sequence[str]) -> str:
    more = f" and {len(words) - EXAMPLES} more" if len(words) > EXAMPLES else ""
    return f"{'; '.join(words[:EXAMPLES])}{more}"


def digest(value: Any) -> str:
    """Six hexadecimal digits that stand for plain values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:6]
