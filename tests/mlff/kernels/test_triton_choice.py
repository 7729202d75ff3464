"""When the kernels of Triton are chosen, and what is said where they cannot be."""

import logging

import pytest
import torch

from mlff.kernels import SPLIT, _announce, choose

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def gpu(monkeypatch):
    """A machine with a GPU, as far as the choice looks."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    _announce.cache_clear()


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO, "mlff.kernels")
    return caplog


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_auto_is_triton_on_a_gpu_and_says_why_once(gpu, said, dtype):
    assert [choose("auto", GPU, dtype) for _ in range(3)] == ["triton"] * 3
    (record,) = said.records
    assert record.levelname == "INFO" and "triton, because the tensors are on a GPU" in record.message


def test_without_triton_the_reference_is_taken_with_one_loud_word(gpu, said, monkeypatch):
    monkeypatch.setattr("mlff.kernels.importlib.util.find_spec", lambda name: None)
    assert [choose("auto", GPU, torch.float32) for _ in range(3)] == ["reference"] * 3
    (record,) = said.records
    assert record.levelname == "WARNING" and "pip install triton" in record.message
    with pytest.raises(ValueError, match="pip install triton"):
        choose("triton", GPU, torch.float32)


def test_training_takes_the_reference_as_a_matter_of_course(gpu, said):
    assert choose("auto", GPU, torch.float32, gradients=True) == "reference"
    (record,) = said.records
    assert record.levelname == "INFO" and "derivatives are wanted" in record.message
    with pytest.raises(ValueError, match="derivatives are wanted"):
        choose("triton", GPU, torch.float32, gradients=True)
    assert choose("auto", CPU, torch.float32, gradients=True) == "numba"


@pytest.mark.parametrize(
    ("device", "dtype", "message"),
    [(CPU, torch.float32, "on CUDA devices"), (GPU, torch.bfloat16, "float32 or float64")],
)
def test_who_insists_where_they_cannot_run_hears_why(gpu, monkeypatch, device, dtype, message):
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(ValueError, match=message):
        choose("triton", device, dtype)
    assert choose("auto", device, dtype) != "triton"


def test_split_products_are_tritons_and_of_float32_alone(gpu):
    assert choose(SPLIT, GPU, torch.float32) == "triton"
    with pytest.raises(ValueError, match=r"products of float32 are split, and the weights are torch.float64"):
        choose(SPLIT, GPU, torch.float64)


def test_mixed_precision_and_an_absent_gpu_are_named(gpu, monkeypatch):
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: device == "cuda")
    with pytest.raises(ValueError, match="mix precisions"):
        choose("triton", GPU, torch.float32)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="finds no CUDA device"):
        choose("triton", GPU, torch.float32)


def test_the_interpreter_stands_in_for_a_gpu(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert choose("triton", CPU, torch.float32) == "triton"
    assert choose("auto", CPU, torch.float32) == "numba"
