"""``python -m mlff.deploy``: a manual, a run, exit codes."""

import json
import subprocess
import sys

import pytest
from ase.build import molecule
from ase.io import read, write

from mlff.deploy.__main__ import main, parser
from mlff.deploy.batched_md.settings import SimulationSettings


@pytest.fixture
def start(tmp_path):
    write(tmp_path / "start.xyz", [molecule("H2O"), molecule("CH4")], format="extxyz")
    return tmp_path / "start.xyz"


def words(start, student, *more):
    folder = start.parent / "md"
    usual = ["--student", student, "--folder", folder, "--duration-ps", "0.004", "--temperature-K", "50"]
    return [str(word) for word in [start, *usual, "--device", "cpu", "--frame-every", 4, *more]]


def test_the_manual_comes_at_once_and_names_every_setting():
    code = (
        "import sys; from mlff.deploy.__main__ import parser; parser().format_help(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    manual = parser().format_help()
    for name in SimulationSettings.model_fields:
        assert f"--{name.replace('_', '-')}" in manual
    assert "python -m mlff.deploy start.extxyz --student checkpoints/reference/aspirin_gfn2" in manual


def test_it_simulates_copies_and_goes_on(start, student_file, capsys):
    assert main(words(start, student_file, "--copies", 2, "--profile")) == 0
    folder = start.parent / "md"
    assert sorted(file.name for file in (folder / "trajectory").iterdir()) == [
        "00000_H2O.extxyz", "00001_H2O.extxyz", "00002_CH4.extxyz", "00003_CH4.extxyz",
    ]  # fmt: skip
    ends = [read(folder / "trajectory" / f"0000{n}_H2O.extxyz", "-1") for n in (0, 1)]
    assert ends[0].info["step"] == 8 and abs(ends[0].positions - ends[1].positions).max() > 1e-4
    assert "Bottleneck: " in capsys.readouterr().out
    longer = [word if word != "0.004" else "0.006" for word in words(start, student_file, "--copies", 2)]
    assert main(longer) == 0
    assert json.loads((folder / "summary.json").read_text())["steps"] == 12


def test_faults_have_their_exit_codes(start, student_file, capsys):
    assert main(words(start, student_file, "--largest-temperature-K", 1)) == 3
    assert "FAILED: 00000_H2O: its temperature rose above 1 K" in capsys.readouterr().out
    for wrong, message in (
        (["--seed", -1], "seed"),
        (["--copies", 0], "--copies"),
        (["--trajectory", "none"], "another largest_temperature_K (was 1.0, is 20000.0)"),
    ):
        assert main(words(start, student_file, *wrong)) == 2
        assert message in capsys.readouterr().err
    (start.parent / "notes.txt").write_text("no structures")
    assert main(words(start.parent / "notes.txt", student_file)) == 2
    assert "notes.txt cannot be read as structures" in capsys.readouterr().err
