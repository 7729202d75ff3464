"""A system that breaks is frozen where it was last well, named and reported; the others do not notice."""

import json

import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.io import read

from mlff.deploy.batched_md.observables import read_observables
from mlff.deploy.batched_md.preparation import copy_to


def thrown(momentum: float):
    """A hydrogen molecule whose atoms fly towards each other."""
    atoms = molecule("H2")
    atoms.set_momenta([[0, 0, -momentum], [0, 0, momentum]])
    return atoms


BROKEN = {
    "overlap": (thrown(0.5), "two atoms came nearer than 0.3 Å"),
    "heat": (thrown(20.0), "temperature rose above 20,000 K"),
    "overflow": (thrown(1e100), "its temperature rose above"),
}


@pytest.mark.parametrize("kernels", ["reference", "auto"])
@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_system_is_frozen_and_named_and_the_others_go_on(kind, kernels, run, gentle, mixture, tmp_path):
    broken, reason = BROKEN[kind]
    student = copy_to(gentle, torch.device("cpu"), torch.float64)
    student.kernels = kernels
    alone = run(mixture, steps=30, folder="alone", student=student)
    result = run([mixture[0], broken, *mixture[1:]], steps=30, folder="with", student=student)
    (failed,) = result.failed
    assert failed.name == "00001_H2" and reason in failed.failure
    assert f"FAILED: 00001_H2: {failed.failure}" in (tmp_path / "log.txt").read_text()
    assert json.loads((result.folder / "summary.json").read_text())["failed"] == {"00001_H2": failed.failure}
    others = [*result.structures[:1], *result.structures[2:]]
    for one, other in zip(alone.structures, others, strict=True):
        assert np.abs(one.positions - other.positions).max() < 1e-10
    last = result.structures[1]
    assert np.isfinite(last.positions).all() and last.get_distance(0, 1) >= 0.3 and failed.steps < 30
    # what is written of it ends before it broke
    table = read_observables(result.folder)
    assert np.isfinite(table["total_eV"]).all()
    assert table["step"][table["system"] == 1].max() <= failed.steps
    assert len(read(result.folder / "trajectory" / "00000_C2H6O.extxyz", ":")) == 4


def test_the_simulation_ends_when_nothing_is_left(run):
    result = run([thrown(0.5), thrown(0.6)], steps=200)
    assert len(result.failed) == 2 and result.steps < 60


def test_a_network_without_an_answer_for_one_system_leaves_the_others_alone(run, gentle, mixture):
    """Weights of one element are spoiled, as no trained network's are."""
    spoiled = copy_to(gentle, torch.device("cpu"), torch.float64)
    with torch.no_grad():
        spoiled.embedding.weight[gentle.elements.index(14)] = torch.nan
    result = run(mixture, steps=10, student=spoiled)
    assert [outcome.name for outcome in result.failed] == ["00001_Si2", "00003_Si16"]
    assert np.isfinite(result.structures[0].positions).all()
