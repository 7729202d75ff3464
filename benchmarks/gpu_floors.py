"""Floors under a step on a GPU: the recorded graph alone, as many empty launches, arithmetic and memory at full speed.

Operations are counted as in C = L [60 N F² + E F (33 + 55)] − 14 N F² for N atoms and E directed edges, filters from
tables, two for a multiplication and an addition. Memory is that of the node tensors, which every launch of the fused
messages reads and writes once.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import triton
import triton.language as tl
from torch.profiler import ProfilerActivity, profile

from mlff.deploy.batched_md.neighbours import Boxes, find_edges
from mlff.deploy.compiled import gpu_student
from mlff.kernels import triton_program
from mlff.kernels.cuda_graph import Recorded

NUMBERS_PER_ATOM_AND_BLOCK = 60
"""Rows of F numbers that the kernels of a block read and write, up and down."""


@triton.jit
def nothing(number):
    """The smallest launch."""
    tl.store(number, tl.load(number))


def floors(model: Any, systems: Any) -> dict[str, Any]:
    """Of some systems at their positions.

    Args:
        model: the student, on a GPU.
        systems: `mlff.deploy.batched_md.systems.Systems` on the same.

    Returns:
        Numbers of atoms, edges and launches; microseconds of the graph with node blocks chosen as usual, atom by atom
        and by products, of a graph of as many empty launches, of the arithmetic and the memory traffic at the speeds
        measured here; the slowest kernels.
    """
    edges = find_edges(systems, Boxes(systems).at(systems), model.cutoff)
    usual, atoms = triton_program.FEW_ATOMS, systems.n_atoms
    answer: dict[str, Any] = {"n_atoms": atoms, "n_edges": edges.n_edges}
    for name, few in (("graph", usual), ("graph atom by atom", 10**9), ("graph by products", 0)):
        if name == "graph atom by atom" and atoms > 16 * usual:
            continue
        triton_program.FEW_ATOMS = few
        student = loaded(model, systems, edges)
        student.run(systems.positions, stress=False)
        answer[f"{name} us"] = microseconds(Recorded(partial(student.program.launch, False), systems.device))
        if name == "graph":
            kernels = launches(student)
            answer["launches"] = sum(count for _, count, _ in kernels)
            answer["slowest kernels"] = [
                {"name": kernel[:60], "launches": count, "us": us} for kernel, count, us in kernels[:12]
            ]
    triton_program.FEW_ATOMS = usual
    answer["empty launches us"] = empty_graph(answer["launches"])
    width, layers = model.channels, model.layers
    flop = layers * (60 * atoms * width**2 + edges.n_edges * width * 88) - 14 * atoms * width**2
    moved = 4 * layers * atoms * width * NUMBERS_PER_ATOM_AND_BLOCK
    answer["arithmetic us"], answer["memory us"] = 1e6 * flop / flop_per_second(), 1e6 * moved / bytes_per_second()
    return answer


def loaded(model: Any, systems: Any, edges: Any) -> Any:
    """The program with the systems in it."""
    student = gpu_student(model)
    start = torch.searchsorted(edges.receivers, torch.arange(systems.n_atoms + 1, device=systems.device))
    cells = systems.cell.index_select(0, systems.owner.index_select(0, edges.receivers))
    offsets = torch.einsum("ec,ecd->ed", edges.shifts, cells)
    species = model.element_index[systems.numbers]
    student.set_structures(species, start, edges.senders, edges.reverse, offsets, systems.first)
    return student


def microseconds(work: Callable[[], Any], together: int = 20) -> float:
    """Of one of several that follow each other, on the GPU's own clock: the median of ten tries after a warm-up."""
    for _ in range(5):
        work()
    times = []
    for _ in range(10):
        before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        before.record()
        for _ in range(together):
            work()
        after.record()
        torch.cuda.synchronize()
        times.append(1e3 * before.elapsed_time(after) / together)
    return statistics.median(times)


def launches(student: Any) -> list[tuple[str, int, float]]:
    """Kernels of one run that is not replayed: names, how many launches, microseconds together; the slowest first."""
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        student.program.launch(stress=False)
        torch.cuda.synchronize()
    found = [(event.key, event.count, event.self_device_time_total) for event in seen.key_averages()]
    return sorted((f for f in found if f[2] > 0), key=lambda f: -f[2])


def empty_graph(count: int) -> float:
    """Microseconds of a recorded graph of launches that do nothing."""
    number = torch.zeros(1, device="cuda")

    def work() -> None:
        for _ in range(count):
            nothing[(1,)](number)

    return microseconds(Recorded(work, torch.device("cuda")))


def flop_per_second(size: int = 8192) -> float:
    """Of a large product in full float32."""
    a, b = torch.rand(size, size, device="cuda"), torch.rand(size, size, device="cuda")
    with triton_program.full_precision():
        return 2 * size**3 / (1e-6 * microseconds(lambda: a @ b, together=3))


def bytes_per_second(size: int = 2**28) -> float:
    """Of a copy, reading and writing."""
    a, b = torch.zeros(size, device="cuda"), torch.zeros(size, device="cuda")
    return 8 * size / (1e-6 * microseconds(lambda: b.copy_(a), together=3))
