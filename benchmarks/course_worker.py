"""Worker of `precision.py` and `scale_ladder.py`: one training in a process of its own, for the sake of its memory."""

from __future__ import annotations

import torch
from courses import Course, plain
from peers import CLOCKS, Answer, peak_MB, serve

from pinn.configuration import SolveSettings
from pinn.pipeline import build_problem
from training.composition import compose
from training.configuration import validate


def train(words: list[str], seconds: float | None, target: float | None, clock: str, threads: int) -> Answer:
    """Train a configuration.

    Args:
        words: as ``train.py`` takes them.
        seconds: of training; None: all steps.
        target: relative L2 error at which the training ends.
        clock: see `peers.CLOCKS`.
        threads: of torch.
    """
    torch.set_num_threads(threads)
    settings = validate(compose(words), SolveSettings)
    course = Course(build_problem(settings), settings.network, settings.stages, settings.seed, CLOCKS[clock])
    ready = peak_MB()
    moments = course.run(seconds, 0.5 if seconds is None else min(0.5, seconds / 20), target)
    return {
        "moments": plain(moments),
        "seconds": course.seconds,
        "ms_per_step": {name: 1e3 * took / done for name, (took, done) in course.costs.items()},
        "weights": sum(parameter.numel() for parameter in course.trial.parameters()),
        "ready_MB": ready,
        "peak_MB": peak_MB(),
    }


if __name__ == "__main__":
    serve(train)
