"""Every CPU kernel against the plain-torch reference: results, and the derivatives of a loss through them."""

import os
import subprocess
import sys

import pytest
import torch

from mlff.kernels import choose, reference, rows
from mlff.kernels.reference import EdgeList

TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5}


def edges_between(n_atoms: int, dtype: torch.dtype) -> EdgeList:
    """A symmetric list with rows of every length, empty ones and images of an atom itself included."""
    generator = torch.Generator().manual_seed(n_atoms)
    pairs = [(i, j) for i in range(n_atoms) for j in range(i) if torch.rand((), generator=generator) < 0.6]
    # an atom and its own image: two edges (i, i) with opposite vectors
    directed = [(i, j, k, 1) for k, (i, j) in enumerate(pairs)] + [(j, i, k, -1) for k, (i, j) in enumerate(pairs)]
    directed += [(0, 0, len(pairs), 1), (0, 0, len(pairs), -1)] if n_atoms else []
    directed.sort(key=lambda e: (e[0], e[1], e[2], e[3]))
    place = {edge: n for n, edge in enumerate(directed)}
    back = [place[(j, i, k, -sign)] for i, j, k, sign in directed]
    vectors = torch.nn.functional.normalize(torch.randn(len(pairs) + 1, 3, generator=generator, dtype=dtype), dim=-1)
    direction = torch.stack([sign * vectors[k] for _, _, k, sign in directed]) if directed else vectors[:0]
    receivers = torch.tensor([e[0] for e in directed], dtype=torch.int64)
    return EdgeList(
        receivers=receivers,
        senders=torch.tensor([e[1] for e in directed], dtype=torch.int64),
        reverse=torch.tensor(back, dtype=torch.int64),
        row_start=torch.searchsorted(receivers, torch.arange(n_atoms + 1)),
        direction=direction,
    )


def inputs(n_atoms: int, channels: int, parts: int, dtype: torch.dtype) -> tuple[EdgeList, dict[str, torch.Tensor]]:
    edges = edges_between(n_atoms, dtype)
    generator = torch.Generator().manual_seed(1)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype)

    filters = random(len(edges.receivers), parts * channels)
    return edges, {
        "features": random(n_atoms, parts * channels),
        "vectors": random(n_atoms, 3, channels),
        # a filter is a function of the distance, so an edge and its reverse have the same one
        "filters": 0.5 * (filters + filters[edges.reverse]),
        "scalar_bar": random(n_atoms, channels),
        "vector_bar": random(n_atoms, 3, channels),
    }


def derivatives(results, inputs, grads):
    """By automatic differentiation of the reference; zeros where nothing depends."""
    found = torch.autograd.grad(results, inputs, grads, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for g, x in zip(found, inputs, strict=True)]


def check(value: torch.Tensor, truth: torch.Tensor, name: str = "") -> None:
    bound = TOLERANCE[value.dtype]
    torch.testing.assert_close(value, truth, rtol=bound, atol=10 * bound, msg=lambda m: f"{name}: {m}")


@pytest.mark.parametrize("initial", [True, False], ids=["initial", "with vectors"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize(("n_atoms", "channels"), [(9, 16), (5, 1), (4, 37), (1, 8)])
class TestEqualsTheReference:
    @pytest.fixture
    def setting(self, initial, dtype, n_atoms, channels):
        edges, values = inputs(n_atoms, channels, 2 if initial else 3, dtype)
        if initial:
            values["vectors"] = None
        return edges, values

    def test_message(self, setting):
        edges, v = setting
        arguments = v["features"], v["vectors"], v["filters"], edges
        for value, truth in zip(rows.message(*arguments), reference.message(*arguments), strict=True):
            check(value, truth)

    def test_derivatives_of_the_message(self, setting):
        edges, v = setting
        names = [name for name in ("features", "vectors", "filters") if v[name] is not None]
        leaves = {name: v[name].clone().requires_grad_(True) for name in names}
        results = reference.message(leaves["features"], leaves.get("vectors"), leaves["filters"], edges)
        truth = dict(zip(names, derivatives(results, list(leaves.values()), like(results)), strict=True))
        found = rows.message_backward(v["features"], v["vectors"], v["filters"], edges, *like(results))
        for name, value in zip(("features", "vectors", "filters"), found, strict=True):
            if name in truth:
                check(value, truth[name], name)
            else:
                assert value is None

    def test_reverse(self, setting):
        edges, v = setting
        arguments = v["features"], v["vectors"], v["filters"], edges, v["scalar_bar"], v["vector_bar"]
        for value, truth in zip(rows.message_reverse(*arguments), reference.message_reverse(*arguments), strict=True):
            assert (value is None) == (truth is None)
            if value is not None:
                check(value, truth)

    def test_derivatives_of_the_reverse(self, setting):
        edges, v = setting
        names = [name for name in v if v[name] is not None]
        leaves = {name: v[name].clone().requires_grad_(True) for name in names}
        results = reference.message_reverse(
            leaves["features"],
            leaves.get("vectors"),
            leaves["filters"],
            edges,
            leaves["scalar_bar"],
            leaves["vector_bar"],
        )
        present = tuple(result for result in results if result is not None)
        grads = like(present)
        truth = dict(zip(names, derivatives(present, list(leaves.values()), grads), strict=True))
        incoming = iter(grads)
        found = rows.message_reverse_backward(
            v["features"], v["vectors"], v["filters"], edges, (v["scalar_bar"], v["vector_bar"]),
            tuple(None if result is None else next(incoming) for result in results),
        )  # fmt: skip
        for name, value in zip(("features", "vectors", "filters", "scalar_bar", "vector_bar"), found, strict=True):
            if name not in truth:
                assert value is None
            else:
                check(value, truth[name], name)


def like(results: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Random cotangents."""
    generator = torch.Generator().manual_seed(2)
    return tuple(torch.randn(r.shape, generator=generator, dtype=r.dtype) for r in results)


def test_results_do_not_depend_on_the_number_of_threads():
    edges, v = inputs(40, 16, 3, torch.float64)
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2):
            torch.set_num_threads(count)
            rows.use_threads_of_torch()
            results.append(
                rows.message_reverse(v["features"], v["vectors"], v["filters"], edges, v["scalar_bar"], v["vector_bar"])
            )
    finally:
        torch.set_num_threads(threads)
        rows.use_threads_of_torch()
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


class TestChoice:
    def test_auto_is_numba_on_a_cpu_and_the_reference_elsewhere(self):
        assert choose("auto", torch.device("cpu"), torch.float32) == "numba"
        assert choose("auto", torch.device("cuda"), torch.float32) == "reference"
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert choose("auto", torch.device("cpu"), torch.float32) == "reference"

    @pytest.mark.parametrize(
        ("name", "device", "dtype", "message"),
        [
            ("fast", "cpu", torch.float32, "choose one of"),
            ("numba", "cuda", torch.float32, "on the CPU"),
            ("numba", "cpu", torch.float16, "float32 or float64"),
        ],
    )
    def test_an_impossible_choice_is_named(self, name, device, dtype, message):
        with pytest.raises(ValueError, match=message):
            choose(name, torch.device(device), dtype)

    def test_a_fast_path_that_cannot_be_used_says_so_once(self, caplog):
        from mlff.kernels import _announce

        _announce.cache_clear()
        for _ in range(3):
            choose("auto", torch.device("cuda"), torch.float32)
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "cannot be used" in caplog.text


def test_the_first_kernel_of_a_process_leaves_torch_its_number_of_threads():
    code = (
        "import torch; torch.set_num_threads(1); "
        "from mlff.kernels import nodes, rows; rows.use_threads_of_torch(); nodes.silu(torch.ones(2, 2)); "
        "print(torch.get_num_threads())"
    )
    environment = {**os.environ, "NUMBA_NUM_THREADS": "2"}
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=environment)
    assert process.stdout.strip() == "1", process.stderr
