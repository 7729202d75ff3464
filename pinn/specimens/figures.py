"""Figures of fitted specimens: found against true, and the pulls."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pinn.fitting.result import FitResult
from training.optimizers.batched_least_squares import Status
from training.report.style import BLUE, INK, ORANGE, SavedFigure, canvas, grid, save

BINS = np.linspace(-4, 4, 41)
WIDTH = 0.2
"""Of the histograms of pulls."""


def draw_coefficients(folder: Path, fitted: FitResult, truth: np.ndarray) -> list[SavedFigure]:
    """For each parameter the found values against the true ones, and the distribution of the pulls."""
    inside = (fitted.status == Status.CONVERGED).numpy()
    x = np.linspace(-4, 4, 161)
    drawn = []
    for place, name in enumerate(fitted.names):
        found, errors = fitted.parameters[inside, place].numpy(), fitted.errors[inside, place].numpy()
        true = truth[inside, place]
        if not len(true):
            continue
        pulls = (found - true) / errors
        with canvas(columns=2, height=2.8) as (figure, (left, right)):
            ends = float(true.min()), float(true.max())
            left.plot(ends, ends, color=INK, linewidth=0.6)
            left.plot(true, found, ".", color=BLUE, markersize=2.5, alpha=0.6)
            left.set(xlabel=f"{name}, true", ylabel=f"{name}, found")
            right.hist(
                pulls, bins=BINS.tolist(), weights=np.full(len(pulls), 1 / (len(pulls) * WIDTH)), color=BLUE, alpha=0.75
            )
            right.plot(x, np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi), color=ORANGE, linewidth=1.2)
            right.set(xlabel=f"pull of {name}", yticks=[])
            grid(left, "both")
            caption = (
                f"{name} of {len(true):,} specimens. Right: (found − true)/error; mean {pulls.mean():.3f}, standard "
                f"deviation {pulls.std():.3f}; the line is the normal distribution that right error bars give."
            )
            drawn.append(save(figure, folder, f"specimens_{name}", f"{name} found and true", caption))
    return drawn
