"""`import mlff` is quick, and its public names are found at first use."""

import subprocess
import sys

import pytest

import mlff


def test_importing_the_package_loads_neither_torch_nor_ase():
    code = "import sys, mlff; sys.exit(sum(name in sys.modules for name in ('torch', 'ase', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_calculator_is_found_at_first_use():
    from mlff.deploy.calculator import StudentCalculator

    assert mlff.StudentCalculator is StudentCalculator


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'mlff' has no attribute 'distill_everything'"):
        mlff.distill_everything  # noqa: B018
