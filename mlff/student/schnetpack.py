"""SchNetPack's PaiNN as a student: the same network, so the same numbers, faster.

SchNetPack saves models as pickles, which run code when they are opened and open only beside the packages they were made
with. So a script, `convert_schnetpack.py`, runs once in the user's own SchNetPack environment and writes numbers, and
this module reads them.

How the two are the same network (theirs → ours): filters of all blocks in one layer → one per block; ``μ_V, μ_W`` →
``V, U``; gates ``(a_s, a_v, a_sv)`` → ``(a_s, a_sv, a_v)``; Bessel functions without the factor ``√(2/rc)`` → weights
divided by it. Parts that multiply zero or that nobody reads (``φ^v`` of the first block, ``a_v`` of the last) do not
exist here.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mlff.graph import AtomGraph
from mlff.neighbors import neighbor_list
from mlff.student.painn import PaiNN
from training.errors import InputError

FORMAT = "limbeck schnetpack painn"
VERSION = 1

BASES = {"GaussianRBF": "GaussianBasis", "BesselRBF": "BesselBasis"}

TOLERANCE = 1e-5
"""Largest difference from SchNetPack's own answers, in float32 on their side: energies in eV per atom and relative to
their size where it is above one, forces relative to the largest, or to 0.1 eV/Å where all are smaller."""


def from_schnetpack(path: str | Path) -> PaiNN:
    """A SchNetPack 2 PaiNN that `convert_schnetpack.py` wrote, in float32, with energies in eV.

    The network is asked for the structures in the file, and must answer as SchNetPack did.

    Args:
        path: the converted file, ``.safetensors``.

    Raises:
        InputError: if the file is not such a file, its weights do not fit its settings, or the answers differ.
    """
    about, tensors = _read(Path(path))
    settings = about["settings"]
    model = PaiNN(
        about["elements"],
        channels=settings["channels"],
        layers=settings["layers"],
        radial=settings["radial"],
        cutoff=settings["cutoff"],
        basis=BASES[settings["basis"]],
        envelope="CosineCutoff",
    )
    scale = about["eV_per_energy_unit"]
    model.set_reference({z: scale * about["zero_of_energy"][str(z)] for z in model.elements}, scale)
    expected = {name: weight.shape for name, weight in model.named_parameters()}
    try:
        weights = _weights(tensors, model, settings)
        model.load_state_dict(weights, strict=False)
    except (KeyError, RuntimeError, IndexError) as error:
        raise InputError(f"The weights in {path} do not fit its settings: {error}. Convert the model again.") from error
    missing = sorted(set(expected) - set(weights))
    if missing:
        raise InputError(f"{path} lacks the weights {', '.join(missing[:3])}. Convert the model again.")
    for answer in about["answers"]:
        _require_same(model, answer, scale, path)
    return model.eval()


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    remedy = (
        "Write it with mlff/student/convert_schnetpack.py in the environment of SchNetPack: python "
        "convert_schnetpack.py best_model painn.safetensors --elements H C O --energy-unit eV"
    )
    if not path.is_file():
        raise InputError(f"There is no file {path}. {remedy}.")
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("limbeck", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} is no converted model ({error}). {remedy}.") from error
    if about.get("format") != FORMAT:
        raise InputError(f"{path} holds no model of SchNetPack. {remedy}.")
    if about["version"] != VERSION:
        raise InputError(f"{path} was written by another version of convert_schnetpack.py. {remedy}.")
    return about, tensors


def _weights(theirs: dict[str, Tensor], model: PaiNN, settings: dict[str, Any]) -> dict[str, Tensor]:
    """Our names and layouts of their weights."""
    channels, layers = settings["channels"], settings["layers"]
    if settings["readout_hidden"] != model.readout.first.out_features:
        raise InputError(
            f"The readout of the model has {settings['readout_hidden']} hidden channels; readable are half of its "
            f"{channels} features ({model.readout.first.out_features})."
        )
    factor = math.sqrt(model.cutoff / 2) if settings["basis"] == "BesselRBF" else 1.0
    ours = {"embedding.weight": theirs["representation.embedding.weight"]}

    def take(name: str, source: str, parts: list[int] | None = None) -> None:
        """One linear layer, of its outputs the parts of F channels that are named, in this order."""
        for kind in ("weight", "bias"):
            if f"{source}.{kind}" not in theirs:
                continue
            value = theirs[f"{source}.{kind}"]
            if parts is not None:
                pieces = value.split(channels)
                value = torch.cat([pieces[n] for n in parts])
            ours[f"{name}.{kind}"] = value

    for n in range(layers):
        interaction, mixing = f"representation.interactions.{n}", f"representation.mixing.{n}"
        sent = [0, 1, 2] if n else [0, 1]
        take(f"messages.{n}.phi.first", f"{interaction}.interatomic_context_net.0")
        take(f"messages.{n}.phi.second", f"{interaction}.interatomic_context_net.1", sent)
        take(f"messages.{n}.filter.dense", "representation.filter_net", [3 * n + part for part in sent])
        ours[f"messages.{n}.filter.dense.weight"] = ours[f"messages.{n}.filter.dense.weight"] * factor
        take(f"updates.{n}.mix", f"{mixing}.mu_channel_mix", [1, 0])
        take(f"updates.{n}.gate.first", f"{mixing}.intraatomic_context_net.0")
        take(f"updates.{n}.gate.second", f"{mixing}.intraatomic_context_net.1", [0, 2, 1] if n < layers - 1 else [0, 2])
    take("readout.first", "outnet.0")
    take("readout.second", "outnet.1")
    return ours


def _require_same(model: PaiNN, answer: dict[str, Any], scale: float, path: str | Path) -> None:
    """The network in float64 answers as SchNetPack did in float32."""
    numbers, positions = np.array(answer["numbers"]), np.array(answer["positions"])
    cell, pbc = np.array(answer["cell"]), np.array(answer["pbc"])
    neighbors = neighbor_list(positions, cell, pbc, model.cutoff)
    graph = AtomGraph(
        atomic_numbers=torch.from_numpy(numbers),
        positions=torch.from_numpy(positions),
        cell=torch.from_numpy(cell[None]),
        receivers=torch.from_numpy(neighbors.receivers),
        senders=torch.from_numpy(neighbors.senders),
        shifts=torch.from_numpy(neighbors.shifts).double(),
        reverse=torch.from_numpy(neighbors.reverse),
        structure_index=torch.zeros(len(numbers), dtype=torch.long),
        n_structures=1,
    )
    with torch.inference_mode():
        prediction = model(graph)
    forces = scale * np.array(answer["forces"])
    energy = scale * answer["energy"]
    own = energy - float(model.reference_energies[model.element_index[graph.atomic_numbers]].sum())
    energy_off = abs(prediction.energy.item() - energy) / (len(numbers) * max(1.0, abs(own) / len(numbers)))
    forces_off = np.abs(prediction.forces.numpy() - forces).max() / max(0.1, np.abs(forces).max())
    if not (energy_off < TOLERANCE and forces_off < TOLERANCE):
        raise InputError(
            f"The network made from {path} does not answer as SchNetPack did: energies differ by {energy_off:.1e} eV "
            f"per atom, forces by {forces_off:.1e} of their size. Convert the model again with the script of this "
            "version; if it stays so, the model has a part that the script does not know: please report it."
        )
