"""Triton's kernels along edges against the plain-torch reference, with filters from the same tables."""

import numpy as np
import pytest
import torch

from mlff.kernels import reference, triton_edges, triton_geometry
from mlff.kernels.reference import EdgeList
from mlff.kernels.tables import tabulate
from mlff.kernels.triton_memory import Records
from mlff.kernels.triton_program import FORWARD, REVERSE, WHOLE_ROW

# sums of at most a hundred terms of order one
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5}
START, SCALE = 0.4, 1.7


class Setting:
    """A cluster measured by the kernel, filters of every edge within the cutoff from the table, random features."""

    def __init__(self, cluster, n_atoms, channels, parts, dtype, device):
        self.atoms, self.channels, self.parts = cluster(n_atoms), channels, parts
        self.dtype, self.device = dtype, device
        waves = np.random.default_rng(1).uniform(0.5, 3.0, parts * channels)

        def functions(d):
            rest, wave = d[:, None] - cluster.cutoff, waves * d[:, None]
            return rest**3 * np.sin(wave), 3 * rest**2 * np.sin(wave) + rest**3 * waves * np.cos(wave)

        self.table = tabulate(functions, START, cluster.cutoff, 1e-3)
        self.rows = self.measure()
        self.generator = torch.Generator().manual_seed(2)
        self.size = {"F": channels, "BLOCK": 1 << (channels - 1).bit_length()}

    def exact(self, values) -> torch.Tensor:
        return torch.as_tensor(np.ascontiguousarray(values), dtype=torch.float64, device=self.device)

    def integers(self, values) -> torch.Tensor:
        return torch.as_tensor(np.ascontiguousarray(values), device=self.device).to(torch.int32)

    def features(self, *shape) -> torch.Tensor:
        return torch.randn(*shape, generator=self.generator, dtype=torch.float64).to(self.device, self.dtype)

    def measure(self, **at_once) -> Records:
        a, n, e = self.atoms, len(self.atoms.positions), max(len(self.atoms.senders), 1)
        table = self.table
        self.start, self.levels = self.integers(a.start), self.exact([START, table.cutoff, 1 / table.spacing, SCALE])
        self.slopes, self.closest = self.exact(np.ones((e, 3))), self.exact(np.ones(n))
        place, unit = (torch.full(shape, 7.0, dtype=self.dtype, device=self.device) for shape in ((e,), (e, 4)))
        count, sender, knot, wide = (self.integers(np.full(size, -1)) for size in (n, e, e, e))
        triton_geometry.measure[(n,)](
            self.exact(a.positions), self.start, self.integers(a.senders), self.exact(a.offsets), self.levels,
            sender, knot, wide, place, unit, count, self.slopes, self.closest,
            INTERVALS=table.intervals, **WHOLE_ROW | at_once,
        )  # fmt: skip
        return Records(count, sender, knot, place, unit, wide)

    @property
    def records(self) -> tuple[torch.Tensor, ...]:
        return self.start, *self.rows[:-1]

    def coefficients(self) -> torch.Tensor:
        values = self.table.coefficients / triton_edges.TABLE_SCALE
        return self.exact(values).to(self.dtype)

    def edges(self) -> EdgeList:
        """Those within the cutoff, for the reference."""
        a, inside = self.atoms, self.atoms.inside
        number = np.cumsum(inside) - 1
        receivers = torch.as_tensor(a.receivers[inside], device=self.device)
        vectors = self.exact(a.vectors[inside])
        self.distance = torch.linalg.vector_norm(vectors, dim=1)
        return EdgeList(
            receivers=receivers,
            senders=torch.as_tensor(a.senders[inside], device=self.device),
            reverse=torch.as_tensor(number[a.reverse[inside]], device=self.device),
            row_start=torch.searchsorted(receivers, torch.arange(len(a.positions) + 1, device=self.device)),
            direction=(vectors / self.distance[:, None]).to(self.dtype),
        )

    def filters(self, derivative=0) -> torch.Tensor:
        lengths = np.linalg.norm(self.atoms.vectors[self.atoms.inside], axis=1)
        return self.exact(self.table.values(lengths, derivative)).to(self.dtype)

    def empty(self, *shape) -> torch.Tensor:
        return torch.full(shape, torch.nan, dtype=self.dtype, device=self.device)


def check(value: torch.Tensor, truth: torch.Tensor) -> None:
    bound = TOLERANCE[truth.dtype]
    torch.testing.assert_close(value.to(truth.dtype), truth, rtol=bound, atol=bound)


@pytest.fixture(
    params=[
        (4, 16, torch.float64),
        (2, 5, torch.float64),
        (2, 64, torch.float32),
        (1, 32, torch.float32),
    ],
    ids=lambda p: f"{p[0]} atoms, {p[1]} channels, {str(p[2]).removeprefix('torch.')}",
)
def size(request):
    return request.param


@pytest.fixture(scope="module")
def setting(cluster, device):
    return Setting(cluster, 4, 4, 2, torch.float64, device)


class TestRecords:
    @pytest.mark.parametrize("at_once", [4, WHOLE_ROW["EDGES"]])
    def test_are_the_edges_within_the_cutoff_in_their_order(self, setting, at_once):
        a, rows = setting.atoms, setting.measure(EDGES=at_once)
        assert 0 < a.inside.sum() < len(a.inside) and np.diff(a.start).max() > 4
        counts = np.bincount(a.receivers[a.inside], minlength=len(a.positions))
        np.testing.assert_array_equal(rows.counts.cpu(), counts)
        filled = np.concatenate([np.arange(s, s + c) for s, c in zip(a.start, counts, strict=False)]).astype(int)
        np.testing.assert_array_equal(rows.wide.cpu()[filled], np.flatnonzero(a.inside))
        np.testing.assert_array_equal(rows.sender.cpu()[filled], a.senders[a.inside])
        lengths = np.linalg.norm(a.vectors[a.inside], axis=1)
        place = START + (rows.knot.cpu() + rows.place.cpu())[filled] * setting.table.spacing
        np.testing.assert_allclose(place, lengths, atol=1e-13)
        unit = np.column_stack([a.vectors[a.inside] / lengths[:, None], 1 / lengths])
        np.testing.assert_allclose(rows.unit.cpu()[filled], unit, atol=1e-14)

    def test_leave_slopes_at_zero_and_know_the_shortest_edge(self, setting):
        a = setting.atoms
        assert not setting.slopes.any()
        lengths = np.where(a.inside, np.linalg.norm(a.vectors, axis=1), np.inf)
        shortest = [lengths[s:e].min(initial=np.inf) for s, e in zip(a.start[:-1], a.start[1:], strict=True)]
        np.testing.assert_allclose(setting.closest.cpu(), shortest, atol=1e-14)
        assert np.isinf(shortest[-1])

    def test_of_a_position_that_is_not_a_number_are_refused(self, setting):
        kept = setting.atoms.positions.copy()
        setting.atoms.positions[0, 1] = np.nan
        try:
            setting.measure()
        finally:
            setting.atoms.positions[:] = kept
        assert setting.closest[0] == 0


def test_messages_and_their_reverse_with_vectors(cluster, device, size):
    n_atoms, channels, dtype = size
    case = Setting(cluster, n_atoms, channels, 3, dtype, device)
    edges, filters = case.edges(), case.filters()
    features, vectors = case.features(n_atoms, 3 * channels), case.features(n_atoms, 3, channels)
    scalars, changed = case.features(n_atoms, channels), case.empty(n_atoms, 3, channels)
    before = scalars.clone()
    triton_edges.messages[(n_atoms,)](
        *case.records, case.coefficients(), features, vectors, scalars, changed, **case.size, **FORWARD
    )
    scalar_change, vector_change = reference.message(features, vectors, filters, edges)
    check(scalars, before + scalar_change)
    check(changed, vectors + vector_change)

    bars = case.features(n_atoms, channels), case.features(n_atoms, 3, channels)
    truth = reference.message_reverse(features, vectors, filters, edges, *bars)
    features_bar, through = case.empty(n_atoms, 3 * channels), case.empty(n_atoms, 3, channels)
    sums = torch.ones(max(len(case.atoms.senders), 1), 4, dtype=torch.float64, device=device)
    for add in (False, True):
        triton_edges.messages_reverse[(n_atoms,)](
            *case.records, case.coefficients(), features, vectors, *bars, features_bar, through, sums,
            ADD=add, **case.size, **REVERSE,
        )  # fmt: skip
    check(features_bar, truth[0])
    check(through, bars[1] + truth[1])
    # twice, as the second call added; the slope of the table is per interval
    along = (truth[2] * case.filters(1)).sum(dim=1, dtype=torch.float64) * case.table.spacing
    found = sums[in_records(case)] / 2
    check(found[:, 0].to(dtype), along.to(dtype))
    check(found[:, 1:].to(dtype), truth[3])


def test_first_messages_and_the_slopes_of_the_edges(cluster, device, size):
    n_atoms, channels, dtype = size
    case = Setting(cluster, n_atoms, channels, 2, dtype, device)
    edges, filters = case.edges(), case.filters()
    species = case.integers(np.arange(n_atoms) % 2)
    table, embedding = case.features(2, 2 * channels), case.features(2, channels)
    features = table[species.long()]
    scalars, vectors = case.empty(n_atoms, channels), case.empty(n_atoms, 3, channels)
    triton_edges.first_messages[(n_atoms,)](
        *case.records, case.coefficients(), species, table, embedding, scalars, vectors, **case.size, **FORWARD
    )
    scalar_change, vector_change = reference.message(features, None, filters, edges)
    check(scalars, embedding[species.long()] + scalar_change)
    check(vectors, vector_change)

    bars = case.features(n_atoms, channels), case.features(n_atoms, 3, channels)
    _, _, filter_bar, direction_bar = reference.message_reverse(features, None, filters, edges, *bars)
    above = case.exact(np.random.default_rng(3).normal(size=(max(len(case.atoms.senders), 1), 4)))
    triton_edges.first_messages_reverse[(n_atoms,)](
        *case.records, case.rows.wide, case.coefficients(), species, table, *bars, above, case.levels, case.slopes,
        ADD=True, **case.size, **REVERSE,
    )  # fmt: skip
    kept = above[in_records(case)]
    along = (filter_bar * case.filters(1)).sum(dim=1, dtype=torch.float64) + kept[:, 0] / case.table.spacing
    across, direction = direction_bar + kept[:, 1:], -edges.direction.double()
    across = across - direction * (direction * across).sum(dim=1, keepdim=True)
    truth = SCALE * (along[:, None] * direction + across / case.distance[:, None])
    inside = torch.as_tensor(case.atoms.inside, device=device)
    check(case.slopes[: len(inside)][inside].to(dtype), truth.to(dtype))
    assert not case.slopes[: len(inside)][~inside].any()


def in_records(case: Setting) -> np.ndarray:
    """Places of the records, in the order of the edges within the cutoff."""
    counts = case.rows.counts.cpu().numpy()
    rows = [np.arange(s, s + c) for s, c in zip(case.atoms.start[:-1], counts, strict=True)]
    return torch.as_tensor(np.concatenate(rows), device=case.device)
