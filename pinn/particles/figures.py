"""Figures of agents beside the density they should have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pinn.particles.check import AgentCheck, Measured
from pinn.solve.figures.numbers import digits
from training.report.style import BLUE, GREY, ORANGE, SavedFigure, canvas, grid, save


def draw_agents(folder: Path, check: AgentCheck, coordinate: str) -> list[SavedFigure]:
    """Densities at several times, and distances over time.

    Args:
        folder: where the files go.
        check: what the agents said.
        coordinate: name of the first space coordinate.
    """
    return [_densities(folder, check, coordinate), _distances(folder, check)]


def _densities(folder: Path, check: AgentCheck, coordinate: str) -> SavedFigure:
    with canvas(columns=len(check.moments), rows=2, height=3.4) as (figure, axes):
        for number, moment in enumerate(check.moments):
            places, error = moment.places.numpy(), (moment.agents - moment.network).numpy()
            above, below = axes[number], axes[len(check.moments) + number]
            above.plot(places, moment.agents, color=ORANGE, linewidth=3.0, alpha=0.55, label="agents")
            above.plot(places, moment.network, color=BLUE, linewidth=1.1, label="network")
            above.set_title(f"t = {digits(moment.time)}")
            above.tick_params(labelbottom=False)
            spread = 2 * moment.spread.numpy()
            below.fill_between(places, -spread, spread, color=GREY, alpha=0.3, linewidth=0, label="noise, twice")
            below.plot(places, error, color=BLUE, linewidth=0.9)
            below.set(xlabel=coordinate)
            for ax in (above, below):
                ax.tick_params(labelleft=number == 0)
                grid(ax)
        for row in (axes[: len(check.moments)], axes[len(check.moments) :]):
            low, high = min(ax.get_ylim()[0] for ax in row), max(ax.get_ylim()[1] for ax in row)
            for ax in row:
                ax.set_ylim(low, high)
        axes[0].set_ylabel("density")
        axes[len(check.moments)].set_ylabel("difference")
        handles = [*axes[0].get_legend_handles_labels()[0], *axes[-1].get_legend_handles_labels()[0]]
        figure.legend(handles, ["agents", "network", "two standard errors"], loc="outside upper right", ncols=3)
        caption = (
            f"Density along {coordinate} of {check.populations} populations of {check.agents:,} agents, who follow the "
            "network's drift, and of the network, both through the same kernel. Below: their difference, and twice its "
            "standard error over the populations."
        )
        return save(figure, folder, "agents_density", "Agents and density", caption)


def _distances(folder: Path, check: AgentCheck) -> SavedFigure:
    times = np.array([moment.time for moment in check.moments])
    with canvas(columns=3, height=2.4) as (figure, (far, apart, mass)):
        for ax, name, rows in (
            (far, "distance W₁", [moment.wasserstein for moment in check.moments]),
            (apart, "L₁ of densities", [moment.density_l1 for moment in check.moments]),
        ):
            _with_bars(ax, times, rows)
            ax.set(xlabel="t", title=name, ylim=(0, None))
            grid(ax)
        far.legend(loc="lower right")
        masses = np.array([moment.mass for moment in check.moments]) - 1
        mass.errorbar(times, masses, yerr=[moment.mass_error for moment in check.moments], fmt="o-", color=BLUE)
        mass.set(xlabel="t", title="mass − 1")
        mass.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
        grid(mass)
        worst = max(check.moments, key=lambda moment: moment.wasserstein.value)
        caption = (
            f"W₁ is {digits(worst.wasserstein.value)} ± {digits(worst.wasserstein.error)} at most; as many agents "
            f"drawn from the network's density itself would show {digits(worst.wasserstein.by_chance)} (grey). The "
            f"network's mass differs from one by {digits(float(np.abs(masses).max()))} at most."
        )
        return save(figure, folder, "agents_distance", "How far agents and density are apart", caption)


def _with_bars(axes: Any, times: np.ndarray, rows: list[Measured]) -> None:
    values, errors = [row.value for row in rows], [row.error for row in rows]
    axes.errorbar(times, values, yerr=errors, fmt="o-", color=BLUE, markersize=4, capsize=2, label="agents")
    axes.plot(times, [row.by_chance for row in rows], color=GREY, linewidth=1.2, label="by chance")
