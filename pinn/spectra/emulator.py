"""A network in place of a stellar atmosphere code: labels in, a spectrum at rest on a fixed grid out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pinn.jets.jet import Jet
from pinn.jets.layout import JetLayout
from pinn.networks import MLP
from pinn.spectra.grid import LogGrid
from training.errors import InputError


class Emulator(nn.Module):
    """A perceptron whose last layer writes all pixels of the grid at once.

    Args:
        network: labels to pixels.
        grid: the pixels.
        labels: names of the inputs.
        units: of the labels, for tables.

    Attributes:
        ranges: lowest and highest value of each label that it has learned, (labels, 2).
    """

    def __init__(self, network: MLP, grid: LogGrid, labels: Sequence[str], units: Sequence[str]) -> None:
        super().__init__()
        if network.inputs != len(labels) or network.outputs != grid.size:
            raise InputError(
                f"An emulator of {len(labels)} labels on {grid.size} pixels needs a network of as many inputs and "
                f"outputs; this one has {network.inputs} and {network.outputs}."
            )
        self.network, self.grid = network, grid
        self.labels, self.units = tuple(labels), tuple(units)
        bounds = network.architecture()["bounds"]
        self.ranges = torch.tensor(bounds, dtype=torch.float64)

    def forward(self, labels: Tensor) -> Tensor:
        """Spectra (n, grid.size) at labels (n, labels)."""
        return self.network(labels)

    @property
    def last(self) -> nn.Linear:
        """The layer that writes the pixels."""
        layer = self.network.linears[-1]
        assert isinstance(layer, nn.Linear)
        return layer

    def hidden(self, labels: Tensor, derivatives: bool) -> Tensor:
        """What the last layer reads, with its derivatives by every label.

        Values and tangents are rows of the same matrices, so that a layer is one product for all of them.

        Args:
            labels: (n, labels).
            derivatives: whether to carry them.

        Returns:
            (1, n, width), or (1 + labels, n, width).
        """
        layout = JetLayout(self.labels, [(name,) for name in self.labels] if derivatives else [])
        jet = self.network.features.jet(Jet.of_points(layout, labels))
        for layer in self.network.linears[:-1]:
            assert isinstance(layer, nn.Linear)
            jet = self.network.dense(jet, layer)
        return jet.parts

    def describe(self) -> dict[str, Any]:
        """What builds an untrained copy, as plain JSON values."""
        return {
            "network": self.network.architecture(),
            "grid": self.grid.to_dict(),
            "labels": list(self.labels),
            "units": list(self.units),
        }


def with_components(network: MLP, mean: Tensor, components: Tensor, grid: LogGrid) -> MLP:
    """The network of all pixels from one of a few components: ``mean + components · outputs``, one linear layer.

    Args:
        network: labels to components.
        mean: (grid.size,).
        components: (grid.size, network.outputs).
        grid: the pixels.
    """
    architecture = network.architecture()
    known = ("_target_", "outputs", "inputs")
    whole = MLP(
        network.inputs, grid.size, **{name: value for name, value in architecture.items() if name not in known}
    )  # fmt: skip
    with torch.no_grad():
        for mine, its in zip(whole.linears[:-1], network.linears[:-1], strict=True):
            mine.load_state_dict({name: value.double() for name, value in its.state_dict().items()})
        first, last = network.linears[-1], whole.linears[-1]
        assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
        last.weight.copy_(components @ first.weight.double())
        last.bias.copy_(mean + components @ first.bias.double())
    return whole.requires_grad_(False)
