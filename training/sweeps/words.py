"""The words behind ``-m``: those about the sweep, those every run has, and those that are different in each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import HydraException
from omegaconf import OmegaConf

from training.configuration import validate
from training.errors import ConfigurationError
from training.settings import Settings
from training.sweeps.settings import SweepSettings
from training.sweeps.space import Choices, Interval, Values

GROUP = "sweep"


@dataclass(frozen=True)
class Request:
    """What the user has asked for.

    Attributes:
        settings: of the sweep.
        fixed: words every run has.
        space: values of every key that changes, in the order in which they were given.
    """

    settings: SweepSettings
    fixed: tuple[str, ...]
    space: dict[str, Values]


def is_about_sweep(word: str) -> bool:
    """Whether a word chooses or sets something of the group ``sweep``."""
    return word.lstrip("+").startswith((f"{GROUP}=", f"{GROUP}."))


def read_request(words: Sequence[str], configs: Path) -> Request:
    """Sort the words of the command line.

    Args:
        words: without ``-m``.
        configs: the folder of YAML files.

    Raises:
        ConfigurationError: if a word cannot be read, or the sweep's own settings are not valid.
    """
    others = [word for word in words if not is_about_sweep(word)]
    with reading(configs) as loader:
        settings = sweep_settings([word for word in words if is_about_sweep(word)], loader)
        overrides = [_parse(word, loader) for word in others]
        named = {override.get_key_element() for override in overrides}
        # what stands in a file comes first, so that the keys of the command line change fastest
        studied = [_parse(word, loader) for word in _words_of(settings.space)]
        overrides = [override for override in studied if override.get_key_element() not in named] + overrides
        # of a key that is given twice the last word counts, as in a single run
        overrides = list({override.get_key_element(): override for override in overrides}.values())
        swept = {o.get_key_element(): _values(o) for o in overrides if o.is_sweep_override()}
        fixed = tuple(str(o.input_line) for o in overrides if not o.is_sweep_override())
    return Request(settings, fixed, swept)


def sweep_settings(words: Sequence[str], loader: ConfigLoader) -> SweepSettings:
    """The group ``sweep`` with the given words applied; the file ``grid`` unless another is chosen.

    Args:
        words: such as ``sweep=random`` and ``sweep.runs=50``.
        loader: inside `reading`.

    Raises:
        ConfigurationError: names everything that is wrong with it.
    """
    plain = [word.lstrip("+") for word in words]
    chosen = next((word.partition("=")[2] for word in reversed(plain) if word.startswith(f"{GROUP}=")), "grid")
    known = loader.get_group_options(GROUP)
    if chosen not in known:
        raise ConfigurationError(f"{GROUP}={chosen}: there is no such choice. Known: {', '.join(known)}.")
    config = hydra_compose(None, overrides=[f"+{GROUP}={chosen}"])
    for word in plain:
        if not word.startswith(f"{GROUP}="):
            override = _parse(word, loader)
            if override.is_sweep_override():
                raise ConfigurationError(f"{word}: the settings of a sweep have one value each.")
            OmegaConf.update(config, override.key_or_group, override.value(), force_add=True)
    return validate(config, _Whole).sweep


class _Whole(Settings):
    """The group under its name, so that complaints bear the key that a user types."""

    sweep: SweepSettings


@contextmanager
def reading(configs: Path) -> Iterator[ConfigLoader]:
    """Hydra reads the folder meanwhile, also inside a program that is using Hydra for something else."""
    former = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(configs.resolve()), version_base=None):
            yield GlobalHydra.instance().config_loader()
    finally:
        GlobalHydra.instance().hydra = former


def _parse(word: str, loader: ConfigLoader) -> Override:
    try:
        return OverridesParser.create(config_loader=loader).parse_overrides([word])[0]
    except HydraException as error:
        raise ConfigurationError(f"{word} cannot be read: {str(error).splitlines()[0]}") from error


def _values(override: Override) -> Values:
    key = override.get_key_element()
    if override.is_interval_sweep():
        interval = override.value()
        assert isinstance(interval, IntervalSweep) and interval.start is not None and interval.end is not None
        return Interval.checked(key, interval.start, interval.end, logarithmic="log" in interval.tags)
    return Choices(key, tuple(str(value) for value in override.sweep_string_iterator()))


def _words_of(space: Mapping[str, Any]) -> list[str]:
    """``sweep.space`` as words of the command line; a YAML list is a choice."""
    words = []
    for key, value in space.items():
        if isinstance(value, list):
            value = ",".join(entry if isinstance(entry, str) else json.dumps(entry) for entry in value)
        words.append(f"{key}={value}")
    return words
