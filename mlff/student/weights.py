"""A student's weights as plain arrays, for programs that know nothing of the network's classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from numpy import ndarray

from mlff.kernels.inference import Block, Dense, Weights
from mlff.kernels.tables import RadialTable, tabulate
from mlff.student.blocks import NORM_FLOOR, Message, Update
from mlff.student.layers import RadialFeatures

if TYPE_CHECKING:
    from mlff.student.painn import PaiNN

TOLERANCE = {torch.float32: 1e-6, torch.float64: 5e-11}
"""Largest error of a tabulated slope, as a part of the largest slope of that radial function: below the rounding of a
network in that precision."""


def weights_of(model: PaiNN, radial: RadialTable, nearest: float) -> Weights:
    """All weights of a student, float64.

    Args:
        model: on any device.
        radial: its radial functions, from `tabulated_radial`.
        nearest: Å; a structure with a shorter edge gets no answer.
    """
    return Weights(
        embedding=_array(model.embedding.weight),
        blocks=[
            _block(cast("Message", message), cast("Update", update))
            for message, update in zip(model.messages, model.updates, strict=True)
        ],
        readout=(_dense(model.readout.first), _dense(model.readout.second)),
        radial=radial,
        floor=NORM_FLOOR,
        nearest=nearest,
        scale=float(model.energy_scale),
        references=_array(model.reference_energies),
    )


def tabulated_radial(model: PaiNN, start: float, tolerance: float) -> RadialTable:
    """The table of a student's radial functions times their envelope, from ``start`` (Å) to the cutoff.

    Args:
        model: on any device.
        start: Å.
        tolerance: largest error of a slope, as a part of the largest slope of that function.
    """

    def functions(distance: ndarray) -> tuple[ndarray, ndarray]:
        on_device = torch.from_numpy(distance).to(model.embedding.weight.device)
        features = RadialFeatures.of(on_device, model.basis, model.envelope)
        return features.values.cpu().numpy(), features.slopes.cpu().numpy()

    return tabulate(functions, start, model.cutoff, tolerance)


def _block(message: Message, update: Update) -> Block:
    return Block(
        phi=(_dense(message.phi.first), _dense(message.phi.second)),
        filter=_array(message.filter.weights()),
        mix=_array(update.mix.weight),
        gate=(_dense(update.gate.first), _dense(update.gate.second)),
    )


def _dense(layer: torch.nn.Linear) -> Dense:
    return Dense(_array(layer.weight), _array(layer.bias))


def _array(tensor: torch.Tensor) -> ndarray:
    return tensor.detach().to(device="cpu", dtype=torch.float64).numpy()
