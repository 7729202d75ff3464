"""What a user gets wrong, and what comes back: one message that names the thing, exit code 2, nothing spent."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.io import write

from training.composition import compose
from training.run import main

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(300)]


def require_nothing_spent(root: Path) -> None:
    """No structure was sampled, no label made, no step trained, and no run folder is left."""
    assert list(root.rglob("config.yaml")) == []
    spent = [path for name in ("structures", "labels", "*.ckpt", "*.safetensors") for path in root.rglob(name)]
    assert spent == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["stages.forces.stepps=3", "teacher=gfn3"], ["stages.forces.stepps", "stages.forces.steps", "gfn2"]),
        (["student.channels=-1", "stages.energy.clip=0"], ["student.channels", "stages.energy.clip", "2 problems"]),
    ],
    ids=["words that do not compose", "values that are not valid"],
)
def test_the_command_names_everything_that_is_wrong_at_once(limbeck, tmp_path, arguments, words):
    process = limbeck.train([*limbeck.TINY, f"run.root={tmp_path}", *arguments])
    assert process.returncode == 2, process.stdout + process.stderr
    assert [word for word in words if word not in process.stderr] == [], process.stderr
    assert "Traceback" not in process.stderr
    assert not list(tmp_path.iterdir())


CALCULATOR = ["teacher=calculator", "teacher.name=x"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["structures.source=aspirine"], ["structures.source=aspirine", "did you mean aspirin"]),
        (["structures.source=no/such.xyz"], ["no/such.xyz", "no such file"]),
        ([*CALCULATOR, "teacher.calculator=nowhere.Calculator"], ["nowhere", "pip install nowhere"]),
        ([*CALCULATOR, "teacher.calculator=ase.calculators.emt.EMTT"], ["EMTT", "did you mean EMT?"]),
        (["teacher=emt", "structures.source=SiH4"], ["EMT fails on the first structure (H4Si)", "Si"]),
        (["teacher.arguments.charge=half"], ["GFN2-xTB fails on the first structure (C2H6O)", "teacher.arguments"]),
        (["teacher=none"], ["neither a teacher nor a file of labels"]),
        (["data=labelled"], ["data.train: has no default"]),
        (["data=labelled", "data.train=missing.xyz"], ["missing.xyz does not exist"]),
        (["data.test=other.xyz"], ["data.test", "data.train"]),
        (["stages.forces.loss_weights.stress=1"], ["GFN2-xTB cannot give stress for C2H6O"]),
        (["structures.supercell=[2,1,1]"], ["structures.supercell", "C2H6O is not periodic"]),
        (["engine.kind=ray"], ["engine.kind", "not available yet"]),
        (["run.name=a/b"], ["a/b", "cannot name a folder"]),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else None,
)
def test_a_wrong_word_is_named_with_its_remedy(limbeck, tmp_path, capsys, arguments, words):
    assert main(compose([*limbeck.TINY, f"run.root={tmp_path}", *arguments])) == 2
    message = capsys.readouterr().err
    assert [word for word in words if word not in message] == [], message
    assert "Traceback" not in message
    require_nothing_spent(tmp_path)


@pytest.fixture(scope="module")
def frames() -> list[Atoms]:
    """Rattled and strained copper with energies, forces and stress of EMT."""
    frames = []
    for seed in range(24):
        atoms = bulk("Cu", cubic=True)
        atoms.set_cell(atoms.cell * (1 + 0.002 * (seed - 12)), scale_atoms=True)
        atoms.rattle(0.05, seed=seed)
        atoms.calc = EMT()
        atoms.get_forces()
        atoms.get_stress()
        frames.append(atoms)
    return frames


class TestUserLabels:
    ARGUMENTS = (
        "experiment=labelled", "tracker=none", "student.channels=8", "student.cutoff=4.0", "stages.forces.steps=20",
        "stages.energy.steps=10", "stages.energy.loss_weights.stress=1.0", "data.batch_size=4",
        "validation.gates.force_mae_meV_per_A=null", "validation.gates.energy_mae_meV_per_atom=null",
    )  # fmt: skip

    def arguments(self, folder: Path, *more: str) -> list[str]:
        files = [f"data.{name}={folder}/{name}.xyz" for name in ("train", "test") if (folder / f"{name}.xyz").exists()]
        return [*self.ARGUMENTS, f"run.root={folder}/runs", *files, *more]

    def refusal(self, capsys, folder: Path, *more: str) -> str:
        """What the command says of these files."""
        assert main(compose(self.arguments(folder, *more))) == 2
        message = capsys.readouterr().err
        assert "Traceback" not in message
        require_nothing_spent(folder)
        return message

    def test_a_crystal_with_stress_goes_from_file_to_student(self, limbeck, tmp_path, frames):
        write(tmp_path / "train.xyz", frames[::2] + frames[1:17:2])
        write(tmp_path / "test.xyz", frames[17::2])
        process = limbeck.train(self.arguments(tmp_path, "data.in_memory=false"))
        assert process.returncode == 0, process.stdout + process.stderr
        assert "energy from 'energy'" in process.stdout and "stress from 'stress'" in process.stdout
        summary = limbeck.summary(limbeck.folder(tmp_path / "runs"))
        assert summary["held_out_structures"] == 4
        assert 0 < summary["stress_mae_meV_per_A3"] < 1000
        assert summary["facts"]["teacher"] == f"the labels of {tmp_path}/train.xyz"
        assert summary["facts"]["structures"] == {"training": 19, "validation": 1, "held out": 4}

    def test_missing_forces_are_refused_never_zero(self, capsys, tmp_path, frames):
        bare = molecule("H2O")
        bare.info["energy"] = -1.0
        write(tmp_path / "train.xyz", [*frames[:10], bare])
        message = self.refusal(capsys, tmp_path)
        assert "frame 10 (H2O) of train.xyz lacks the forces" in message and "data.forces_key" in message

    def test_labels_that_are_not_numbers_are_refused(self, capsys, tmp_path, frames):
        broken = [atoms.copy() for atoms in frames[:10]]
        for atoms, whole in zip(broken, frames, strict=False):
            atoms.info["energy"] = whole.get_potential_energy()
            atoms.arrays["forces"] = whole.get_forces()
        broken[3].arrays["forces"][0, 0] = np.nan
        write(tmp_path / "train.xyz", broken)
        assert "'forces' of frame 3 (Cu4) of train.xyz is not finite" in self.refusal(capsys, tmp_path)

    def test_an_element_that_only_the_test_set_has_is_refused(self, capsys, tmp_path, frames):
        silver = bulk("Ag", cubic=True)
        silver.rattle(0.05, seed=1)
        silver.calc = EMT()
        silver.get_forces()
        silver.get_stress()
        write(tmp_path / "train.xyz", frames[:20])
        write(tmp_path / "test.xyz", [*frames[20:], silver])
        assert "held-out structures hold Ag (Ag4 of test.xyz)" in self.refusal(capsys, tmp_path)

    def test_labels_are_not_taken_for_those_of_another_teacher(self, capsys, tmp_path, frames):
        write(tmp_path / "train.xyz", frames[:20])
        message = self.refusal(capsys, tmp_path, "teacher=lj")
        assert "does not hold labels of the teacher Lennard-Jones" in message and "teacher=none" in message

    def test_stress_that_is_weighted_and_not_there_is_refused(self, capsys, tmp_path, frames):
        bare = [atoms.copy() for atoms in frames[:20]]
        for atoms, whole in zip(bare, frames, strict=False):
            atoms.info["energy"] = whole.get_potential_energy()
            atoms.arrays["forces"] = whole.get_forces()
        write(tmp_path / "train.xyz", bare)
        assert "stages.energy.loss_weights.stress" in self.refusal(capsys, tmp_path)
