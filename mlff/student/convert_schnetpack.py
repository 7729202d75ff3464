"""Write a SchNetPack 2 PaiNN as plain numbers that `mlff.student.from_schnetpack` reads. Needs no Limbeck.

Run it in the Python environment in which the model was trained: only there can its file, a pickle, be opened, and a
pickle should be opened only by those who know where it comes from.

    pip install safetensors
    python convert_schnetpack.py best_model painn.safetensors --elements H C O --energy-unit kcal/mol

Then, where Limbeck is installed:

    from mlff.student import from_schnetpack
    model = from_schnetpack("painn.safetensors")

The file holds weights and settings, and the energies and forces that SchNetPack gives for three structures made here;
the reader compares them with its own.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

# a script's own folder comes first where Python looks, and this one holds a schnetpack.py of Limbeck's
sys.path[:] = [folder for folder in sys.path if Path(folder).resolve() != Path(__file__).resolve().parent]

import numpy as np  # noqa: E402
import schnetpack  # noqa: E402
import torch  # noqa: E402
from ase import Atoms, units  # noqa: E402
from ase.data import atomic_numbers  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from schnetpack.interfaces import AtomsConverter  # noqa: E402
from schnetpack.transform import ASENeighborList  # noqa: E402

FORMAT = "limbeck schnetpack painn"
VERSION = 1
ENERGY_UNITS = {"eV": 1.0, "kcal/mol": units.kcal / units.mol, "kJ/mol": units.kJ / units.mol, "Hartree": units.Hartree}


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="the file that SchNetPack saved, usually best_model")
    parser.add_argument("output", type=Path, help="the file to write, .safetensors")
    parser.add_argument("--elements", nargs="+", required=True, help="symbols of the elements in the training data")
    parser.add_argument(
        "--energy-unit", choices=ENERGY_UNITS, required=True, help="of the model's energies; its lengths must be in Å"
    )
    arguments = parser.parse_args()
    unknown = [symbol for symbol in arguments.elements if symbol not in atomic_numbers]
    if unknown:
        parser.error(f"--elements are chemical symbols such as H C O; got {', '.join(unknown)}")
    model = schnetpack.utils.load_model(str(arguments.model), weights_only=False)
    try:
        convert(model, arguments.output, arguments.elements, arguments.energy_unit)
    except ValueError as error:
        print(f"This model cannot be converted: {error}", file=sys.stderr)
        return 2
    print(f"Wrote {arguments.output}: elements {' '.join(arguments.elements)}, energies in {arguments.energy_unit}.")
    return 0


def convert(model: Any, output: Path, elements: list[str], energy_unit: str) -> None:
    """Write a model's weights, settings and answers.

    Args:
        model: a SchNetPack ``NeuralNetworkPotential`` with a PaiNN.
        output: the file.
        elements: chemical symbols of the training data; the table of a PaiNN has rows for others too, untrained ones.
        energy_unit: a key of ``ENERGY_UNITS``.

    Raises:
        ValueError: if the model has a part that the reader would not reproduce; names it.
    """
    model = model.eval().cpu()
    settings = settings_of(model)
    zero = zero_of_energy(model, settings["energy_key"])
    numbers = sorted(atomic_numbers[symbol] for symbol in elements)
    about = {
        "format": FORMAT,
        "version": VERSION,
        "schnetpack": schnetpack.__version__,
        "elements": numbers,
        "eV_per_energy_unit": ENERGY_UNITS[energy_unit],
        "energy_unit": energy_unit,
        "zero_of_energy": {str(z): zero(z) for z in numbers},
        "settings": settings,
        "answers": [answer(model, atoms, settings) for atoms in structures(numbers)],
    }
    tensors = {
        f"{part}.{name}": tensor.detach().contiguous().clone()
        for part, module in (("representation", model.representation), ("outnet", atomwise(model).outnet))
        for name, tensor in module.named_parameters()
    }
    table = "representation.embedding.weight"
    tensors[table] = tensors[table][numbers].clone()
    save_file(tensors, str(output), metadata={"limbeck": json.dumps(about)})


def settings_of(model: Any) -> dict:
    """What the reader needs besides weights; refuses what it could not reproduce."""
    painn, head = model.representation, atomwise(model)
    basis, cutoff = painn.radial_basis, painn.cutoff_fn
    layers = list(head.outnet)
    names = type(painn).__name__, type(basis).__name__, type(cutoff).__name__
    shared = len({id(block) for block in painn.interactions}) < painn.n_interactions
    refusals = {
        f"its representation is {names[0]}, not PaiNN": names[0] != "PaiNN",
        f"its radial basis is {names[1]}; GaussianRBF and BesselRBF are known": names[1]
        not in ("GaussianRBF", "BesselRBF"),
        "its radial basis was trained": any(True for _ in basis.parameters()),
        f"its cutoff function is {names[2]}; CosineCutoff is known": names[2] != "CosineCutoff",
        "it shares its filters between blocks (shared_filters)": painn.share_filters,
        "it shares its blocks (shared_interactions)": shared and painn.n_interactions > 1,
        "it has embeddings of charge or spin": len(painn.electronic_embeddings) > 0,
        f"its embedding is {type(painn.embedding).__name__}": type(painn.embedding) is not torch.nn.Embedding,
        "its epsilon is not 1e-8": any(block.epsilon != 1e-8 for block in painn.mixing),
        "its readout is not two layers with one output": len(layers) != 2 or head.n_out != 1,
        f"its readout takes the {head.aggregation_mode} over atoms, not the sum": head.aggregation_mode != "sum",
        "its activation is not silu": not all(is_silu(block) for block in activations(painn, layers)),
    }
    faults = [fault for fault, present in refusals.items() if present]
    known = {"Atomwise", "Forces"}
    faults += [f"it has the output {type(m).__name__}" for m in model.output_modules if type(m).__name__ not in known]
    inputs = {"PairwiseDistances"}
    faults += [f"it has the input {type(m).__name__}" for m in model.input_modules if type(m).__name__ not in inputs]
    if faults:
        raise ValueError("; ".join(faults) + ".")
    radius = float(cutoff.cutoff)
    require_standard_basis(basis, radius)
    return {
        "channels": painn.n_atom_basis,
        "layers": painn.n_interactions,
        "radial": basis.n_rbf,
        "cutoff": radius,
        "basis": names[1],
        "readout_hidden": layers[0].out_features,
        "energy_key": head.output_key,
    }


def require_standard_basis(basis: Any, cutoff: float) -> None:
    """Centres, widths and frequencies as SchNetPack sets them by default, from zero to the cutoff of the envelope."""
    if type(basis).__name__ == "GaussianRBF":
        centres = torch.linspace(0.0, cutoff, basis.n_rbf)
        standard = torch.allclose(basis.offsets, centres, atol=1e-5) and torch.allclose(
            basis.widths, (centres[1] - centres[0]).expand(basis.n_rbf), atol=1e-5
        )
    else:
        standard = torch.allclose(basis.freqs, torch.arange(1, basis.n_rbf + 1) * torch.pi / cutoff, atol=1e-5)
    if not standard:
        raise ValueError("its radial functions do not reach evenly from zero to its cutoff.")


def atomwise(model: Any) -> Any:
    """The readout of the energy."""
    found = [module for module in model.output_modules if type(module).__name__ == "Atomwise"]
    if len(found) != 1:
        raise ValueError(f"it has {len(found)} readouts of the kind Atomwise, not one.")
    return found[0]


def activations(painn: Any, readout: list) -> list:
    """Layers behind which there is an activation."""
    return [
        *(block.interatomic_context_net[0] for block in painn.interactions),
        *(block.intraatomic_context_net[0] for block in painn.mixing),
        readout[0],
    ]


def is_silu(layer: Any) -> bool:
    """Whether the activation of a layer is silu, tried out."""
    x = torch.linspace(-3, 3, 7)
    return torch.allclose(layer.activation(x), x * torch.sigmoid(x))


def zero_of_energy(model: Any, key: str):
    """A function of the atomic number: what the postprocessors add per atom, in the model's unit."""
    mean, atomrefs = 0.0, None
    for step in model.postprocessors if model.do_postprocessing else []:
        name = type(step).__name__
        if name == "AddOffsets" and step._property == key and step.is_extensive:
            mean += float(step.mean) if step.add_mean else 0.0
            atomrefs = step.atomref if step.add_atomrefs else atomrefs
        elif name not in ("CastTo64", "CastTo32"):
            raise ValueError(f"its postprocessor {name} is not known.")
    return lambda z: mean + (float(atomrefs[z]) if atomrefs is not None else 0.0)


def structures(numbers: list[int]) -> list[Atoms]:
    """A molecule, a larger one, and a crystal whose cell is smaller than most cutoffs; of all elements, at random."""
    random = np.random.default_rng(0)
    made = []
    for n_atoms, periodic in ((4, False), (12, False), (5, True)):
        grid = np.stack(np.meshgrid(*[np.arange(3)] * 3), axis=-1).reshape(-1, 3)[:n_atoms]
        species = [numbers[n % len(numbers)] for n in range(n_atoms)]
        positions = 1.4 * grid + random.uniform(-0.2, 0.2, (n_atoms, 3))
        made.append(Atoms(species, positions, cell=np.diag([4.5, 4.7, 4.9]) if periodic else None, pbc=periodic))
    return made


def answer(model: Any, atoms: Atoms, settings: dict) -> dict:
    """A structure with SchNetPack's energy and forces, in the model's units."""
    converter = AtomsConverter(neighbor_list=ASENeighborList(cutoff=settings["cutoff"]), dtype=torch.float32)
    inputs = converter([atoms])
    positions = inputs[schnetpack.properties.R]
    positions.requires_grad_()
    for module in model.input_modules:
        inputs = module(inputs)
    inputs = model.representation(inputs)
    for module in model.output_modules:
        if type(module).__name__ == "Atomwise":
            inputs = module(inputs)
    energy = inputs[settings["energy_key"]]
    (slope,) = torch.autograd.grad(energy.sum(), positions)
    inputs[settings["energy_key"]] = energy.detach().double()
    inputs = model.postprocess(inputs)
    return {
        "numbers": atoms.numbers.tolist(),
        # as the converter rounded them
        "positions": positions.detach().double().tolist(),
        "cell": atoms.cell.tolist(),
        "pbc": atoms.pbc.tolist(),
        "energy": float(inputs[settings["energy_key"]].sum()),
        "forces": (-slope).double().tolist(),
    }


if __name__ == "__main__":
    sys.exit(main())
