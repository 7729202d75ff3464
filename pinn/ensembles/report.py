"""``report.html`` of an ensemble: paths, mean and band, spread, what failed; one file that opens offline."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pinn.ensembles.configuration import ScenarioSettings
from pinn.ensembles.statistics import Summary
from pinn.ensembles.training import Ensemble
from pinn.solve.figures.equation import check_formula
from training.environment import FILE as ENVIRONMENT
from training.files import write_text_atomically
from training.report.gates import Gate, sentence
from training.report.page import FILE_NAME, render_page
from training.report.style import BLUE, GREY, ORANGE, SKY, SavedFigure, canvas, grid, save

FROZEN = (
    "Each path is frozen: its network is trained on the whole path, the future included. Means and bands are those of "
    "solutions with known paths, not of a controller who does not know what comes."
)

FILES = {
    "network.safetensors": "the weights of all members, stacked",
    "scenarios.safetensors": "paths and solutions by number of the member, mean, spread and band",
    "members.csv": "one line for each member",
    "summary.json": "the final numbers",
    "metrics.jsonl": "every logged value",
    "config.yaml": "what was run",
    "environment.json": "on what, with which versions",
}

SHOWN_PATHS = 50


@dataclass(frozen=True)
class ScenarioFacts:
    """About the run, for the part of the page that all reports share."""

    title: str
    notes: tuple[str, ...]
    command: str
    phases: Mapping[str, float]
    seeds: Mapping[str, int]
    environment: Mapping[str, Any]
    files: Mapping[str, str]


@dataclass(frozen=True)
class Report:
    """What was written: the page, its facts as plain values, and the pictures by name."""

    path: Path
    facts: dict[str, Any]
    pictures: dict[str, Path]


def write_report(
    folder: Path,
    ensemble: Ensemble,
    summary: Summary,
    gates: Sequence[Gate],
    settings: ScenarioSettings,
    seconds: float,
) -> Report:
    """Draw the pictures and write the page."""
    check_formula(ensemble.problem.formula)
    environment = json.loads((folder / ENVIRONMENT).read_text())
    facts = ScenarioFacts(
        title=ensemble.problem.title,
        notes=(FROZEN, *(f"Member {member} failed: {reason}." for member, reason in summary.failed.items())),
        command=environment["command"],
        phases={"training": seconds},
        seeds={"run": settings.seed},
        environment={key: value for key, value in environment.items() if key != "earlier"},
        files={name: words for name, words in FILES.items() if (folder / name).exists()},
    )
    figures = _draw(folder / "figures", ensemble, summary) if len(summary.members) else []
    text = render_page(
        "pinn.ensembles",
        "report.html.j2",
        gates=gates,
        verdict=sentence(gates),
        figures=figures,
        sections={"ensemble": [saved.name for saved in figures]},
        facts=facts,
        summary=summary,
        figures_of_run=summary.figures(),
        process=_spec(settings.paths),
        draws=settings.draws,
        formula=ensemble.problem.formula,
        network={key: value for key, value in ensemble.network.architecture().items() if value not in (None, 0)},
    )
    write_text_atomically(folder / FILE_NAME, text)
    plain = {"process": settings.paths, "draws": settings.draws.model_dump(), "notes": list(facts.notes)}
    return Report(folder / FILE_NAME, plain, {saved.name: saved.png for saved in figures})


def _draw(folder: Path, ensemble: Ensemble, summary: Summary) -> list[SavedFigure]:
    return [_paths(folder, ensemble, summary), _band(folder, summary), _spread(folder, summary)]


def _paths(folder: Path, ensemble: Ensemble, summary: Summary) -> SavedFigure:
    with canvas(height=2.6) as (figure, (axes,)):
        times = ensemble.paths.times.numpy()
        for member in summary.members[:SHOWN_PATHS]:
            axes.plot(times, ensemble.paths.values[member].numpy(), color=SKY, linewidth=0.6, alpha=0.6)
        for member in summary.failed:
            axes.plot(times, ensemble.paths.values[member].numpy(), color=ORANGE, linewidth=1.0)
        axes.plot(times, ensemble.paths.values[summary.members].mean(dim=0).numpy(), color=BLUE)
        axes.set(xlabel="t", ylabel="path", title="Frozen paths")
        grid(axes)
        caption = "The paths (at most fifty), their mean (dark), and those whose member failed (orange)."
        return save(figure, folder, "paths", "Frozen paths", caption)


def _band(folder: Path, summary: Summary) -> SavedFigure:
    middle = len(summary.x) // 2
    with canvas(columns=2, height=2.8) as (figure, (over_time, over_space)):
        slices: list[tuple[Any, str, Any, Any, str]] = [
            (over_time, "t", summary.t, (slice(None), middle), f"x = {float(summary.x[middle]):.3g}"),
            (over_space, "x", summary.x, (-1, slice(None)), f"t = {float(summary.t[-1]):.3g}"),
        ]
        for axes, name, at, where, title in slices:
            low, high, mean = (values[where].numpy() for values in (summary.low, summary.high, summary.mean))
            axes.fill_between(at.numpy(), low, high, color=SKY, alpha=0.4, linewidth=0)
            axes.plot(at.numpy(), mean, color=BLUE)
            if summary.exact_mean is not None:
                axes.plot(at.numpy(), summary.exact_mean[where].numpy(), color=ORANGE, linestyle=":", linewidth=1.6)
            axes.set(xlabel=name, title=title)
            grid(axes)
        over_time.set_ylabel("u")
        exact = "" if summary.exact_mean is None else "; dotted: the mean of the exact solutions under the same paths"
        caption = f"Mean and the band that holds {100 * summary.share:g} % of the members{exact}."
        return save(figure, folder, "band", "Mean and band", caption)


def _spread(folder: Path, summary: Summary) -> SavedFigure:
    with canvas(columns=2, height=2.8) as (figure, all_axes):
        extent = (float(summary.t[0]), float(summary.t[-1]), float(summary.x[0]), float(summary.x[-1]))
        for axes, title, values in zip(all_axes, ("mean", "spread"), (summary.mean, summary.spread), strict=True):
            drawn = axes.imshow(values.T.numpy(), origin="lower", aspect="auto", extent=extent, cmap="viridis")
            axes.set(xlabel="t", title=title)
            figure.colorbar(drawn, ax=axes, shrink=0.9)
            axes.tick_params(color=GREY)
        all_axes[0].set_ylabel("x")
        caption = "Mean and standard deviation over the members."
        return save(figure, folder, "spread", "Mean and spread", caption)


def _spec(spec: Mapping[str, Any]) -> str:
    name = str(spec["_target_"]).rpartition(".")[2]
    arguments = ", ".join(f"{key}={value}" for key, value in spec.items() if key != "_target_" and value is not None)
    return f"{name}({arguments})"
