"""Combinations that Optuna proposes from what earlier runs gave."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from training.errors import ConfigurationError, InputError
from training.sweeps.plan import PlannedRun, Planner
from training.sweeps.records import Attempt, Records
from training.sweeps.settings import SweepSettings
from training.sweeps.space import Interval, Values

REMEDY = "sweep=optuna needs the package optuna: pip install 'optuna>=4', or choose sweep=sobol or sweep=random."

TRIES = 50
"""Proposals in a row that were all made before: the space has nothing else to offer."""


def require_optuna() -> Any:
    """The package.

    Raises:
        ConfigurationError: if it is not installed.
    """
    try:
        import optuna  # an optional package
    except ModuleNotFoundError as error:
        raise ConfigurationError(REMEDY) from error
    # it reports every trial; the sweep does that itself
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


class Suggestions:
    """A source of runs: the tree-structured Parzen estimator of Optuna, which learns from every run that is complete.

    Args:
        settings: of the sweep.
        space: values by key.
        planner: composes and checks what is proposed.
        records: of earlier sessions, from which it learns first.

    Raises:
        ConfigurationError: if Optuna is not installed.
    """

    def __init__(
        self, settings: SweepSettings, space: Mapping[str, Values], planner: Planner, records: Records
    ) -> None:
        optuna = require_optuna()
        assert settings.metric is not None and settings.runs is not None
        self._optuna, self._planner, self._records = optuna, planner, records
        self._metric, self._runs, self._space = settings.metric, settings.runs, dict(space)
        self._distributions = {key: _distribution(optuna, values) for key, values in space.items()}
        self._open: dict[str, Any] = {}
        known = records.latest().values()
        # another start of the random stream, or the first proposals of the earlier session would come again
        sampler = optuna.samplers.TPESampler(seed=settings.seed + len(known), constant_liar=settings.workers > 1)
        self._study = optuna.create_study(direction=settings.goal, sampler=sampler)
        for attempt in known:
            if attempt.complete:
                self._learn(attempt)
        self._left = self._runs - len([attempt for attempt in known if attempt.complete])

    def next_run(self) -> PlannedRun | None:
        """The next proposal that was not made before; None when as many were made as asked for."""
        if self._left <= 0:
            return None
        for _ in range(TRIES):
            trial = self._study.ask(self._distributions)
            combination = tuple(f"{key}={_word(self._space[key], trial.params[key])}" for key in self._space)
            run = self._planner.prepare(combination)
            former = self._records.complete().get(run.id)
            if former is None and run.id not in self._open:
                self._open[run.id] = trial
                self._left -= 1
                return run
            if former is None:
                self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
            else:
                self._study.tell(trial, self._value(former))
        self._left = 0
        return None

    def tell(self, attempt: Attempt, repeat: bool) -> None:
        """Learn from an attempt."""
        if repeat:
            return
        trial = self._open.pop(attempt.id)
        if attempt.complete:
            self._study.tell(trial, self._value(attempt))
        else:
            self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)

    def _learn(self, attempt: Attempt) -> None:
        if set(attempt.values) == set(self._space):
            params = {key: _number(self._space[key], word) for key, word in attempt.values.items()}
            self._study.add_trial(
                self._optuna.trial.create_trial(
                    params=params, distributions=self._distributions, value=self._value(attempt)
                )
            )

    def _value(self, attempt: Attempt) -> float:
        value = attempt.figures.get(self._metric, math.nan)
        if not math.isfinite(value):
            known = ", ".join(attempt.figures) or "none"
            raise InputError(f"sweep.metric={self._metric}: the run {attempt.id} does not give it. Known: {known}.")
        return value


def _distribution(optuna: Any, values: Values) -> Any:
    if not isinstance(values, Interval):
        return optuna.distributions.CategoricalDistribution(values.values)
    if values.whole:
        return optuna.distributions.IntDistribution(int(values.low), int(values.high), log=values.logarithmic)
    return optuna.distributions.FloatDistribution(values.low, values.high, log=values.logarithmic)


def _word(values: Values, value: Any) -> str:
    return values.written(value) if isinstance(values, Interval) else str(value)


def _number(values: Values, word: str) -> Any:
    if not isinstance(values, Interval):
        return word
    return int(word) if values.whole else float(word)
