"""Which combinations a method makes of the values of all keys."""

from __future__ import annotations

import csv
import itertools
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from training.errors import ConfigurationError, InputError
from training.sweeps.settings import SweepSettings
from training.sweeps.space import Choices, Values

Combination = tuple[str, ...]
"""The words that make one run different from the others."""


def combinations(settings: SweepSettings, space: Mapping[str, Values]) -> list[Combination]:
    """All combinations, in the order in which they are run.

    Args:
        settings: of the sweep; for ``optuna`` use `corners`, the combinations follow from what earlier runs gave.
        space: values by key.

    Raises:
        ConfigurationError: if the method cannot do with the values.
        InputError: if the file of a list cannot be read.
    """
    return METHODS[settings.method](settings, space)


def corners(space: Mapping[str, Values]) -> list[Combination]:
    """Few combinations that show whether every key can take its values: the first of all, then each of the others."""
    first = [f"{key}={values.ends()[0]}" for key, values in space.items()]
    found = [tuple(first)]
    for position, (key, values) in enumerate(space.items()):
        for value in values.ends()[1:]:
            found.append((*first[:position], f"{key}={value}", *first[position + 1 :]))
    return found


def _grid(settings: SweepSettings, space: Mapping[str, Values]) -> list[Combination]:
    words = [_all_words(key, values) for key, values in space.items()]
    return list(itertools.product(*words))


def _list(settings: SweepSettings, space: Mapping[str, Values]) -> list[Combination]:
    if settings.file is not None:
        if space:
            raise ConfigurationError(
                f"sweep.file names the runs, and so do the values of {', '.join(space)}; use one of the two."
            )
        return _rows(settings.file)
    words = [_all_words(key, values) for key, values in space.items()]
    lengths = {key: len(column) for key, column in zip(space, words, strict=True)}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{key} has {count}" for key, count in lengths.items())
        raise ConfigurationError(f"sweep=list takes first values together, then second ones, …; but {counts}.")
    return list(zip(*words, strict=True)) if words else _empty("list", space)


def _random(settings: SweepSettings, space: Mapping[str, Values]) -> list[Combination]:
    assert settings.runs is not None
    return _drawn("random", np.random.default_rng(settings.seed).random((settings.runs, len(space))), space)


def _sobol(settings: SweepSettings, space: Mapping[str, Values]) -> list[Combination]:
    from scipy.stats import qmc  # slow to load, and needed for this method only

    assert settings.runs is not None
    if not space:
        return _empty("sobol", space)
    # a power of two is balanced in every key; the first of them are what a sequence can give of any other number
    sequence = qmc.Sobol(len(space), scramble=True, rng=settings.seed)
    return _drawn("sobol", sequence.random_base2((settings.runs - 1).bit_length())[: settings.runs], space)


def _optuna(settings: SweepSettings, space: Mapping[str, Values]) -> list[Combination]:
    return corners(space) if space else _empty("optuna", space)


def _drawn(method: str, shares: np.ndarray, space: Mapping[str, Values]) -> list[Combination]:
    if not space:
        return _empty(method, space)
    return [
        tuple(f"{key}={values.at(float(share))}" for (key, values), share in zip(space.items(), row, strict=True))
        for row in shares
    ]


def _empty(method: str, space: Mapping[str, Values]) -> list[Combination]:
    raise ConfigurationError(
        f"sweep={method} needs values to choose from: give some key several, such as seed=0,1,2, or an interval, such "
        "as 'stages.adam.optimizer.lr=tag(log, interval(1e-4, 1e-2))'."
    )


def _all_words(key: str, values: Values) -> list[str]:
    if not isinstance(values, Choices):
        raise ConfigurationError(
            f"{key}: an interval has no list of values; write range(start, stop, step) or choice(a, b, c), or draw "
            "from it with sweep=random, sobol or optuna."
        )
    return [f"{key}={value}" for value in values.values]


def _rows(file: Path) -> list[Combination]:
    """The runs of a file: words on each line, or the columns of a ``.csv`` whose first line names the keys."""
    try:
        text = file.read_text()
    except OSError as error:
        raise InputError(f"sweep.file={file} cannot be read: {error.strerror}.") from error
    if file.suffix == ".csv":
        table = csv.DictReader(text.splitlines(), skipinitialspace=True)
        rows = [tuple(f"{key}={value}" for key, value in row.items()) for row in table]
    else:
        rows = [tuple(words) for line in text.splitlines() if (words := shlex.split(line, comments=True))]
    if not rows:
        raise InputError(f"sweep.file={file} names no run: one line for each, with words such as seed=0.")
    return rows


METHODS: dict[str, Callable[[SweepSettings, Mapping[str, Values]], list[Combination]]] = {
    "grid": _grid,
    "list": _list,
    "random": _random,
    "sobol": _sobol,
    "optuna": _optuna,
}
"""By the name in the configuration."""
