"""A PaiNN of SchNetPack 2.1.1 (16 features, 2 blocks, Gaussian basis, kcal/mol, offsets) answers as it did there.

``schnetpack_painn.safetensors`` was written by `mlff/student/convert_schnetpack.py` with the real package; its metadata
hold SchNetPack's energies and forces.
"""

import ast
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import units
from safetensors import safe_open
from safetensors.torch import save_file

from mlff.data.dataset import collate, to_sample
from mlff.graph import AtomGraph
from mlff.student.schnetpack import from_schnetpack
from training.errors import InputError

CONVERTED = Path(__file__).with_name("schnetpack_painn.safetensors")
SCRIPT = Path(__file__).parents[3] / "mlff" / "student" / "convert_schnetpack.py"


@pytest.fixture(scope="module")
def content():
    with safe_open(CONVERTED, framework="pt") as file:
        return json.loads(file.metadata()["limbeck"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def write(path, about, tensors):
    save_file(tensors, str(path), metadata={"limbeck": json.dumps(about)})
    return path


def test_energies_and_forces_are_schnetpacks(content):
    from ase import Atoms

    about, _ = content
    model = from_schnetpack(CONVERTED).double()
    unit = units.kcal / units.mol
    answers = about["answers"]
    assert [len(a["numbers"]) for a in answers] == [4, 12, 5] and answers[2]["pbc"] == [True] * 3
    for answer in answers:
        atoms = Atoms(answer["numbers"], answer["positions"], cell=answer["cell"], pbc=answer["pbc"])
        graph = AtomGraph.from_batch(collate([to_sample(atoms, model.cutoff, with_labels=False)]))
        with torch.inference_mode():
            prediction = model(graph)
        forces = unit * np.array(answer["forces"])
        assert np.abs(forces).max() > 0.5
        assert prediction.energy.item() / len(atoms) == pytest.approx(unit * answer["energy"] / len(atoms), abs=1e-5)
        assert np.abs(prediction.forces.numpy() - forces).max() < 1e-5


def test_settings_and_zero_of_energy_are_taken_over(content):
    model = from_schnetpack(CONVERTED)
    assert model.architecture() == {
        "elements": [1, 6, 8],
        "channels": 16,
        "layers": 2,
        "radial": 6,
        "cutoff": 4.0,
        "basis": "GaussianBasis",
        "envelope": "CosineCutoff",
    }
    # a mean of −3.25 per atom, and −1 − 49 z/99 for the element z
    expected = [units.kcal / units.mol * (-3.25 - 1 - 49 * z / 99) for z in (1, 6, 8)]
    assert model.reference_energies.tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "weight", ["representation.filter_net.bias", "representation.mixing.1.mu_channel_mix.weight", "outnet.1.weight"]
)
def test_a_network_that_answers_otherwise_is_refused(weight, content, tmp_path):
    about, tensors = content
    changed = {**tensors, weight: tensors[weight] * 1.01}
    with pytest.raises(InputError, match="does not answer as SchNetPack did"):
        from_schnetpack(write(tmp_path / "changed.safetensors", about, changed))


def test_weights_that_lack_or_do_not_fit_are_named(content, tmp_path):
    about, tensors = content
    fewer = {name: value for name, value in tensors.items() if name != "outnet.1.bias"}
    with pytest.raises(InputError, match=r"lacks the weights readout\.second\.bias"):
        from_schnetpack(write(tmp_path / "fewer.safetensors", about, fewer))
    wider = {**about, "settings": {**about["settings"], "radial": 7}}
    with pytest.raises(InputError, match="do not fit its settings"):
        from_schnetpack(write(tmp_path / "wider.safetensors", wider, tensors))
    hidden = {**about, "settings": {**about["settings"], "readout_hidden": 16}}
    with pytest.raises(InputError, match="readout of the model has 16 hidden channels"):
        from_schnetpack(write(tmp_path / "hidden.safetensors", hidden, tensors))


def test_another_file_is_refused_with_the_way_to_make_one(content, tmp_path):
    about, tensors = content
    (tmp_path / "best_model").write_bytes(b"PK\x03\x04 a pickle")
    foreign = write(tmp_path / "foreign.safetensors", {"format": "other"}, tensors)
    newer = write(tmp_path / "newer.safetensors", {**about, "version": 99}, tensors)
    for path in (tmp_path / "best_model", foreign, newer, tmp_path / "nothing.safetensors"):
        with pytest.raises(InputError, match=r"convert_schnetpack\.py best_model"):
            from_schnetpack(path)


def test_the_script_needs_nothing_of_limbeck():
    """It runs where Limbeck is not installed, from the folder in which a `schnetpack.py` of ours lies."""
    tree = ast.parse(SCRIPT.read_text())
    imported = {alias.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names}
    imported |= {n.module.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module}
    assert imported & {"mlff", "training", "pinn"} == set() and "schnetpack" in imported
    path_line = next(n.lineno for n in ast.walk(tree) if isinstance(n, ast.Assign) and "sys.path" in ast.unparse(n))
    assert path_line < next(
        n.lineno for n in ast.walk(tree) if isinstance(n, ast.Import) and n.names[0].name == "schnetpack"
    )
