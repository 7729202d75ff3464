"""The compiled sweeps and their derivatives against the same network in plain torch, in all that batches can be."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from mlff.data.dataset import collate, to_sample
from mlff.graph import AtomGraph
from mlff.kernels.gradient import LARGEST_TASK
from mlff.student import PaiNN
from mlff.student.adjoint import NEGLIGIBLE

CUTOFF = 3.5


def graph_of(*structures: Atoms) -> AtomGraph:
    samples = []
    for seed, atoms in enumerate(structures):
        shaken = atoms.copy()
        shaken.rattle(0.05, seed=seed)
        samples.append(to_sample(shaken, CUTOFF, with_labels=False))
    return AtomGraph.from_batch(collate(samples))


def student(dtype: torch.dtype = torch.float64, **changes) -> PaiNN:
    torch.manual_seed(1)
    sizes = {"channels": 24, "layers": 2, "radial": 6, "cutoff": CUTOFF} | changes
    model = PaiNN([1, 6, 8, 29], **sizes).to(dtype)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def loss_of(model: PaiNN, graph: AtomGraph) -> torch.Tensor:
    prediction = model(graph)
    weights = torch.linspace(0.5, 1.5, graph.n_atoms, dtype=torch.float64)
    return (prediction.forces.square() * weights.unsqueeze(-1)).sum() + (prediction.energies * weights).sum()


def gradients(model: PaiNN, graph: AtomGraph, kernels: str) -> dict[str, torch.Tensor]:
    model.kernels = kernels
    model.zero_grad()
    loss_of(model, graph).backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


def assert_same(found: dict, truth: dict, tolerance: float) -> None:
    assert found.keys() == truth.keys()
    scale = max(float(value.abs().max()) for value in truth.values())
    for name, value in truth.items():
        assert torch.isfinite(found[name]).all(), name
        assert (found[name] - value).abs().max() <= tolerance * max(float(value.abs().max()), 1e-3 * scale), name


WATER, ATOM = molecule("H2O"), Atoms("C")
BATCHES = {
    "one atom": (ATOM,),
    "molecules and an atom alone": (WATER, ATOM, molecule("CH3CH2OH"), WATER),
    "images of itself": (bulk("Cu"), WATER),
    "more rows than a task, long rows": (bulk("Cu", cubic=True) * (3, 3, 3), WATER),
}


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize(
    "sizes", [{}, {"channels": 40, "layers": 3, "radial": 9}, {"layers": 1, "channels": 8}], ids=str
)
def test_gradients_equal_those_of_the_network_in_torch(batch, sizes):
    graph, model = graph_of(*BATCHES[batch]), student(**sizes)
    if batch.startswith("more"):
        assert graph.n_atoms > LARGEST_TASK
    assert_same(gradients(model, graph, "numba"), gradients(model, graph, "reference"), 1e-10)


def test_float32_keeps_its_digits():
    graph, model = graph_of(*[molecule("CH3CH2OH")] * 10), student(torch.float32, channels=64, layers=3)
    found = gradients(model, graph, "numba")
    assert_same(found, gradients(model.double(), graph, "reference"), 2e-5)


def test_memory_that_has_been_larger_leaves_nothing_behind():
    model, small = student(), graph_of(WATER)
    first = gradients(model, small, "numba")
    gradients(model, graph_of(*BATCHES["more rows than a task, long rows"]), "numba")
    assert_same(gradients(model, small, "numba"), first, 0.0)


def test_a_first_batch_in_inference_mode_leaves_memory_for_training():
    graph = graph_of(*[WATER] * 3)
    sizes = {"channels": 16, "radial": 5}  # of no other test, so that the memory is made here
    with torch.inference_mode():
        student(**sizes).forward(graph_of(*[WATER] * 4))
    model = student(**sizes)
    assert_same(gradients(model, graph, "numba"), gradients(model, graph, "reference"), 1e-10)


def test_batches_may_be_walked_back_in_any_order_and_twice():
    model, graphs = student(), [graph_of(WATER), graph_of(molecule("CH3CH2OH"), WATER)]
    truth = [gradients(model, graph, "numba") for graph in graphs]
    losses = [loss_of(model, graph) for graph in graphs]
    with torch.no_grad():
        student().forward(graphs[0])
    for n in (0, 1, 0):
        model.zero_grad()
        losses[n].backward(retain_graph=True)
        assert_same({name: p.grad for name, p in model.named_parameters()}, truth[n], 0.0)


def test_frozen_weights_get_no_gradient():
    graph, model = graph_of(WATER), student()
    everything = gradients(model, graph, "numba")
    model.embedding.requires_grad_(False)
    del everything["embedding.weight"]
    assert_same(gradients(model, graph, "numba"), everything, 0.0)


def test_any_number_of_threads_gives_the_same_up_to_rounding_and_a_number_always_the_same():
    graph, model, threads = graph_of(*[molecule("CH3CH2OH")] * 6), student(), torch.get_num_threads()
    found = []
    try:
        for count in (1, 2, 2):
            torch.set_num_threads(count)
            found.append(gradients(model, graph, "numba"))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert_same(found[1], found[0], 1e-12)
    assert_same(found[2], found[1], 0.0)


def test_radial_features_that_are_taken_as_zero_are_below_all_rounding():
    assert np.finfo(np.float32).tiny < NEGLIGIBLE**1.5 < NEGLIGIBLE < np.finfo(np.float64).eps


def test_the_first_kernel_of_a_process_leaves_torch_its_number_of_threads():
    code = (
        "import torch; torch.set_num_threads(2); "
        "from mlff.kernels.gradient import use_threads_of_torch; use_threads_of_torch(); "
        "print(torch.get_num_threads())"
    )
    environment = {**os.environ, "NUMBA_NUM_THREADS": "4"}
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=environment)
    assert process.stdout.strip() == "2", process.stderr
