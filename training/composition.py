"""From words on the command line to one composed configuration, and plain answers when a word is not known."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from training.errors import ConfigurationError

MAIN_CONFIG = "train"

REFUSALS = (HydraException, OmegaConfBaseException, ValueError)
"""What composing raises for words that a user has chosen; a group set to null is a plain ``ValueError``."""


def configs_folder() -> Path:
    """The folder of YAML files: beside the packages in a clone, inside this package in an installed wheel.

    Raises:
        ConfigurationError: if neither is there.
    """
    here = Path(__file__).resolve().parent
    for folder in (here.parent / "configs", here / "_configs"):
        if (folder / f"{MAIN_CONFIG}.yaml").is_file():
            return folder
    raise ConfigurationError("The folder configs/ is missing from this installation; install the package again.")


def compose(overrides: Sequence[str] = (), folder: Path | None = None) -> DictConfig:
    """The configuration that ``python train.py`` would run with these overrides, without Hydra's own part.

    Args:
        overrides: as on the command line, for example ``["experiment=quick", "seed=3"]``.
        folder: another folder of YAML files with a ``train.yaml``; the project's own unless given.

    Raises:
        ConfigurationError: if an override cannot be applied; every such override is named with its nearest known key.
    """
    folder = configs_folder() if folder is None else folder
    try:
        with _reading(Path(folder)):
            config = hydra_compose(MAIN_CONFIG, overrides=list(overrides), return_hydra_config=True)
    except REFUSALS as error:
        raise explain(error, overrides, Path(folder)) from error
    choices = dict(config.hydra.runtime.choices)
    with open_dict(config):
        del config["hydra"]
    return name_experiment(config, choices)


def name_experiment(config: DictConfig, choices: Mapping[str, str | None]) -> DictConfig:
    """Give the run the name of its experiment file unless the user has chosen another.

    Args:
        config: the composed configuration.
        choices: which file Hydra chose in every group.
    """
    run = config.get("run")
    if isinstance(run, DictConfig) and run.get("experiment") is None:
        run.experiment = choices.get("experiment") or "default"
    return config


def explain(error: Exception, overrides: Sequence[str], folder: Path) -> ConfigurationError:
    """Hydra's complaint in the words of a user, with every override that cannot be applied.

    Hydra names the first only, and advises to add a misspelt key with ``+``. Dropping each refused override and
    composing again finds the others and the keys that are known.
    """
    remaining = list(overrides)
    complaints: list[str] = []
    current: Exception | None = error
    refusals: list[tuple[str, Exception]] = []
    known: list[str] = []
    while current is not None:
        refused = _refused_override(current, remaining)
        if refused is None:
            complaints.append(_first_lines(current))
            break
        remaining.remove(refused)
        refusals.append((refused, current))
        known, current = _try(remaining, folder)
    complaints += [_complaint(refused, reason, known) for refused, reason in refusals]
    return ConfigurationError("The configuration cannot be composed:\n" + "\n".join(f"  {line}" for line in complaints))


def flat_keys(value: Any, prefix: str = "") -> Iterator[str]:
    """Dotted names of all keys of nested mappings, inner nodes included."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield f"{prefix}{key}"
            yield from flat_keys(inner, f"{prefix}{key}.")


def nearest(key: str, known: Sequence[str]) -> str | None:
    """The known dotted key a user most likely meant: a similar path first, then the same last word elsewhere."""
    leaf = key.rpartition(".")[2]
    matches = difflib.get_close_matches(key, known, n=1, cutoff=0.75)
    if matches:
        return matches[0]
    by_leaf = {name.rpartition(".")[2]: name for name in reversed(known)}
    matches = difflib.get_close_matches(leaf, list(by_leaf), n=1, cutoff=0.75)
    return by_leaf[matches[0]] if matches else None


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Hydra reads this folder meanwhile, also inside a program that is using Hydra for something else."""
    former = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(folder.resolve()), version_base=None):
            yield
    finally:
        GlobalHydra.instance().hydra = former


def _try(overrides: list[str], folder: Path) -> tuple[list[str], Exception | None]:
    """All known keys and groups, and the next complaint if the overrides still do not compose."""
    with _reading(folder):
        problem: Exception | None = None
        try:
            config = hydra_compose(MAIN_CONFIG, overrides=overrides)
        except REFUSALS as error:
            problem = error
            config = OmegaConf.create()
        groups = [name for name in GlobalHydra.instance().config_loader().list_groups("") if name != "hydra"]
    return [*flat_keys(OmegaConf.to_container(config, resolve=False)), *groups], problem


def _refused_override(error: Exception, overrides: Sequence[str]) -> str | None:
    """The override that an error is about."""
    text = f"{error} {error.__cause__ or ''}"
    named = re.search(r"Could not override '([^']+)'|Error merging override (\S+)|when parsing '([^']*)'", text)
    wanted = next((group for group in named.groups() if group), None) if named else None
    missing = re.search(r"Could not find '([^']+)'", text)
    empty = "Config group override must be a string" in text
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if empty and value in ("", "null") and "." not in key:
            return override
        if wanted is not None and (key.split("@")[0] == wanted or key == wanted or override == wanted):
            return override
        if missing and (f"{key}/{value}" == missing[1] or value == missing[1].rpartition("/")[2]):
            return override
    return None


def _complaint(override: str, error: Exception, known: Sequence[str]) -> str:
    key, _, value = override.lstrip("+~").partition("=")
    if "Config group override must be a string" in str(error):
        return f"{override}: a group cannot be null; name one of its files (`python train.py --help` lists them)."
    options = re.search(r"Available options in '[^']*':\n((?:\s+.*\n?)+)", str(error))
    if options:
        names = options[1].split()
        close = difflib.get_close_matches(value, names, n=1, cutoff=0.5)
        hint = f"; did you mean {key}={close[0]}?" if close else "."
        return f"{override}: there is no such choice{hint} Known: {', '.join(names)}."
    if "not in struct" in f"{error} {error.__cause__ or ''}" or "No match in the defaults list" in str(error):
        close_key = nearest(key, known)
        hint = f"; did you mean {close_key}?" if close_key else "; `python train.py --cfg job` lists all keys."
        return f"{override}: the key {key} is unknown{hint}"
    return f"{override}: {_first_lines(error)}"


def _first_lines(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if error.__cause__ is not None and str(error.__cause__).strip():
        lines += [line.strip() for line in str(error.__cause__).splitlines() if line.strip()][:1]
    return " ".join(dict.fromkeys(lines[:4]))
