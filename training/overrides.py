"""Configuration from a script: the words of the command line as keyword arguments of a function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from training.composition import compose, configs_folder, flat_keys, nearest
from training.errors import ConfigurationError


def composed(overrides: Mapping[str, Any], chosen: Sequence[str] = ()) -> DictConfig:
    """The configuration with keyword arguments applied: groups first, then single values.

    Args:
        overrides: by key, dots written as two underscores or as they are: ``{"stages__adam__steps": 200}``; a group by
            its name and a string: ``{"network": "piratenet"}``.
        chosen: further words of the command line, such as ``experiment=burgers``.

    Raises:
        ConfigurationError: if a key is unknown; names the nearest known one.
    """
    given = {key.replace("__", "."): value for key, value in overrides.items()}
    groups = {path.name for path in configs_folder().iterdir() if path.is_dir()}

    def is_choice(key: str, value: Any) -> bool:
        return key.partition("@")[0] in groups and isinstance(value, str)

    config = compose([*chosen, *(f"{key}={value}" for key, value in given.items() if is_choice(key, value))])
    for key, value in given.items():
        if not is_choice(key, value):
            set_value(config, key, value)
    return config


def set_value(config: DictConfig, key: str, value: Any) -> None:
    """Change a value that exists.

    Raises:
        ConfigurationError: if the key is unknown; names the nearest known one.
    """
    if OmegaConf.select(config, key, default=config) is config:
        close = nearest(key, [*flat_keys(OmegaConf.to_container(config))])
        hint = f"did you mean {close}?" if close else "`python train.py --cfg job` shows all of them."
        raise ConfigurationError(f"There is no configuration key {key}; {hint}")
    OmegaConf.update(config, key, str(value) if isinstance(value, Path) else value, merge=False)
