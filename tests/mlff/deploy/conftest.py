"""An untrained student with a smooth, lively energy surface, exported as a run would export it."""

import pytest
import torch

from mlff.deploy.export import save_student
from mlff.student import PaiNN

ELEMENTS = [1, 6, 8, 14]
GIVEN = {
    "teacher": {"name": "gfn2", "version": "0.8"},
    "licence": "LGPL-3.0-or-later",
    "data_fingerprint": "c0ffee",
    "accuracy": {"force_mae_meV_per_Å": 12.5},
}


def make_student(seed: int = 0, cutoff: float = 4.0, dtype: torch.dtype = torch.float64) -> PaiNN:
    torch.manual_seed(seed)
    model = PaiNN(ELEMENTS, channels=16, layers=2, radial=8, cutoff=cutoff)
    model.set_reference({1: -13.6, 6: -1030.0, 8: -2043.0, 14: -7870.0}, energy_scale=3.0)
    return model.to(dtype)


@pytest.fixture(scope="session")
def student() -> PaiNN:
    return make_student()


@pytest.fixture(scope="session")
def student_file(student, tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "student.safetensors"
    save_student(path, student, GIVEN)
    return path


@pytest.fixture
def given():
    return dict(GIVEN)
