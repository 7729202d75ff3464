"""Training an emulator: templates at random labels, their principal components, and a network from one to the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from pinn.networks import MLP, build
from pinn.spectra.emulator import Emulator, with_components
from pinn.spectra.formula import LABELS, RANGES, UNITS, Lines, templates
from pinn.spectra.grid import LogGrid
from pinn.spectra.settings import AtmosphereSettings, EmulatorSettings
from training.module import StagedModule
from training.stages import Stage


@dataclass(frozen=True)
class Templates:
    """What an emulator learns from, float64.

    Attributes:
        grid, lines: of the formula.
        labels: (n, 3), the held-out ones behind the others.
        flux: (n, grid.size).
        trained: how many of them are trained on.
        mean: (grid.size,) of those.
        components: (grid.size, r) principal components of those, orthonormal.
        scale: root mean square of a coefficient.
        lost: rms of the flux that the components leave out, on the held-out ones.
    """

    grid: LogGrid
    lines: Lines
    labels: Tensor
    flux: Tensor
    trained: int
    mean: Tensor
    components: Tensor
    scale: float
    lost: float

    @property
    def targets(self) -> Tensor:
        """Coefficients of the components, scaled to about 1, (n, r)."""
        return (self.flux - self.mean) @ self.components / self.scale


def atmosphere(settings: AtmosphereSettings) -> tuple[LogGrid, Lines]:
    """Grid and line list of the formula."""
    grid = LogGrid(settings.first, settings.last, settings.pixels, settings.padding)
    return grid, Lines.drawn(grid, settings.lines, settings.seed, settings.width_pixels)


def random_labels(n: int, seed: int, margin: float = 0.0) -> Tensor:
    """Uniform in the labels' ranges, without a share at each end, (n, 3)."""
    low, high = torch.tensor(RANGES, dtype=torch.float64).T
    drawn = torch.rand(n, len(RANGES), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return low + (high - low) * (margin + (1 - 2 * margin) * drawn)


def make_templates(atmosphere_settings: AtmosphereSettings, settings: EmulatorSettings, seed: int) -> Templates:
    """Draw templates from the formula and find their components; the number of these is below that of the templates."""
    grid, lines = atmosphere(atmosphere_settings)
    labels = random_labels(settings.templates + settings.held_out, seed)
    flux = torch.cat([templates(lines, grid, part) for part in labels.split(64)])
    trained = flux[: settings.templates]
    mean = trained.mean(0)
    # of the covariance of pixels: cheaper than the singular vectors of all templates, and as good for the leading ones
    values, vectors = torch.linalg.eigh((trained - mean).T @ (trained - mean))
    components = vectors[:, -settings.components :].flip(1)
    kept = float(values[-settings.components :].sum()) / (settings.templates * settings.components)
    rest = flux[settings.templates :] - mean
    lost = float((rest - rest @ components @ components.T).square().mean().sqrt())
    return Templates(grid, lines, labels, flux, settings.templates, mean, components, kept**0.5, lost)


class EmulatorModule(StagedModule):
    """The mean square error of the components, which are orthonormal: that of the flux, up to a factor.

    Args:
        model: labels to coefficients.
        flux_scale: what turns the root of the loss into an rms of flux.
    """

    def __init__(self, model: MLP, flux_scale: float) -> None:
        super().__init__(model)
        self.flux_scale = flux_scale

    def loss(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """The single term ``flux``."""
        return {"flux": self._squares(self.model, batch).mean()}

    def validation_sums(
        self, model: nn.Module, batch: tuple[Tensor, Tensor]
    ) -> dict[str, tuple[Tensor, Tensor | float]]:
        squares = self._squares(model, batch)
        return {"flux_mse": (squares.sum(), float(squares.numel()))}

    def validation_metrics(self, means: dict[str, float]) -> dict[str, float]:
        """The rms of the flux over the held-out templates, components left out not counted."""
        return {"flux_rms": self.flux_scale * means["flux_mse"] ** 0.5}

    def describe(self, metrics: Mapping[str, float]) -> str:
        return f"validation rms of flux {metrics['flux_rms']:.2e}"

    def _squares(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        labels, targets = batch
        dtype = next(model.parameters()).dtype
        difference: Tensor = model(labels.to(dtype)) - targets.to(dtype)
        return difference.square()


class TemplateBatches:
    """Random batches of templates, a new order in every epoch: a `training.stream.StageData`.

    Args:
        templates: labels and targets.
        batch: templates of a batch.
        seed: of the order.
    """

    def __init__(self, templates: Templates, batch: int, seed: int) -> None:
        self.labels, self.targets = templates.labels, templates.targets
        self.trained, self.batch, self.seed = templates.trained, min(batch, templates.trained), seed
        self.epoch = self.position = 0

    def enter_stage(self, stage: Stage) -> None:
        """All stages have the same batches; none accumulates."""

    @property
    def batches(self) -> int:
        """In an epoch; templates that do not fill one wait for the next order."""
        return self.trained // self.batch

    def batch_done(self) -> None:
        self.position += 1
        if self.position >= self.batches:
            self.epoch, self.position = self.epoch + 1, 0

    def train_dataloader(self) -> _Epoch:
        return _Epoch(self)

    def val_dataloader(self) -> DataLoader[Any]:
        held_out = [(self.labels[self.trained :], self.targets[self.trained :])]
        return DataLoader(held_out, batch_size=None)  # type: ignore[arg-type]

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.epoch, self.position = state_dict["epoch"], state_dict["position"]


class _Epoch:
    """What is left of the present epoch, at each ``iter``."""

    def __init__(self, data: TemplateBatches) -> None:
        self.data = data

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        data = self.data
        order = np.random.default_rng([data.seed, data.epoch]).permutation(data.trained)
        for place in range(data.position, data.batches):
            rows = torch.from_numpy(order[place * data.batch : (place + 1) * data.batch])
            yield data.labels[rows], data.targets[rows]


def untrained(templates: Templates, network: dict[str, Any], seed: int) -> EmulatorModule:
    """The module before its first step."""
    r = templates.components.shape[1]
    model = build(network, inputs=len(LABELS), outputs=r, bounds=[list(ends) for ends in RANGES], seed=seed)
    assert isinstance(model, MLP)
    return EmulatorModule(model, templates.scale * (r / templates.grid.size) ** 0.5)


def finished(module: EmulatorModule, templates: Templates) -> tuple[Emulator, dict[str, float]]:
    """The emulator of all pixels, and its error on the held-out templates."""
    model = module.judged_model
    assert isinstance(model, MLP)
    network = with_components(model, templates.mean, templates.components * templates.scale, templates.grid)
    emulator = Emulator(network, templates.grid, LABELS, UNITS)
    error = emulator(templates.labels[templates.trained :]) - templates.flux[templates.trained :]
    observed = error[:, templates.grid.observed]
    return emulator, {
        "flux_rms": float(observed.square().mean().sqrt()),
        "flux_largest": float(observed.abs().max()),
        "flux_99_percent": float(np.quantile(observed.abs().numpy(), 0.99)),
        "components_rms": templates.lost,
        "templates": float(templates.trained),
    }
