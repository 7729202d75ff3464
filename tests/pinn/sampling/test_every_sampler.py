"""What holds for every sampler: distinct points inside the domain, a schedule by step, and state that is complete."""

import io
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sampled_domains import ADAPTIVE, REDRAWING, SAMPLERS, Corner, Rectangle, generator, ridge, started, sweep

from pinn import geometry as shapes
from pinn.sampling import RAD, RARD, Hierarchical, Uniform
from pinn.sampling.sampler import ResidualNotFinite
from training.errors import ConfigurationError

GEOMETRIES = {
    "space-time": lambda: shapes.Interval(x=(-1, 1)) * shapes.Time(0, 1),
    "disk": lambda: shapes.Disk((0.5, -0.5), 0.7),
    "L": lambda: shapes.Polygon([(-1, -1), (1, -1), (1, 0), (0, 0), (0, 1), (-1, 1)]),
    "box minus disk": lambda: shapes.Box(x=(-1, 1), y=(-1, 1)) - shapes.Disk((0.2, 0.1), 0.6),
    "three dimensions": lambda: shapes.Box(x=(0, 1), y=(0, 2), z=(-1, 0)),
}


def updates(sampler, steps, residual=ridge):
    return [step for step in steps if sampler.update(step, residual, sweep)]


@pytest.mark.parametrize("name", SAMPLERS)
class TestEverySampler:
    def test_keeps_its_points_until_the_step_comes_and_changes_them_once(self, name):
        sampler = started(SAMPLERS[name]())
        first = sampler.points
        assert updates(sampler, [0, 1, 2]) == []
        assert sampler.points is first
        assert updates(sampler, [3, 3, 4, 5, 6]) == [3, 6]
        assert (sampler.changes, sampler.last_change) == (2, 6)
        assert not torch.equal(sampler.points[: len(first)], first) or name in ("rard", "rarg")

    def test_gives_distinct_float64_points_inside_with_weights_of_mean_one(self, name):
        domain = Corner()
        sampler = started(SAMPLERS[name](), domain)
        for step in (3, 6, 9):
            sampler.update(step, ridge, sweep)
            points, weights = sampler.points, sampler.weights
            assert points.dtype == weights.dtype == torch.float64
            assert domain.contains(points).all()
            assert len(torch.unique(points, dim=0)) == len(points) == len(weights) == len(sampler.origin)
            assert abs(weights.mean().item() - 1) < 1e-14 and (weights > 0).all()

    def test_keeps_its_number_of_points(self, name):
        sampler = started(SAMPLERS[name]())
        sizes = [len(sampler.points)]
        for step in (3, 6, 9, 12):
            sampler.update(step, ridge, sweep)
            sizes.append(len(sampler.points))
        grows = name in ("rard", "rarg")
        assert sizes == ([100, 130, 150, 150, 150] if grows else [100] * 5)

    def test_is_decided_by_the_seed(self, name):
        once, again, other = (started(SAMPLERS[name](), seed=seed) for seed in (5, 5, 6))
        for sampler in (once, again, other):
            updates(sampler, range(10))
        assert torch.equal(once.points, again.points) and torch.equal(once.weights, again.weights)
        assert not torch.equal(once.points, other.points)

    @pytest.mark.parametrize("stop", [2, 3, 7])
    def test_interrupted_equals_uninterrupted_bit_for_bit(self, name, stop):
        whole = started(SAMPLERS[name](), seed=1)
        updates(whole, range(13))

        sampler = started(SAMPLERS[name](), seed=1)
        updates(sampler, range(stop + 1))
        file = io.BytesIO()
        torch.save(sampler.state_dict(), file)
        updates(sampler, range(stop + 1, 13))  # what a killed process did after its last checkpoint leaves no trace
        file.seek(0)
        resumed = started(SAMPLERS[name](), seed=99)
        resumed.load_state_dict(torch.load(file, weights_only=True))
        updates(resumed, range(stop + 1, 13))

        assert torch.equal(resumed.points, whole.points) and torch.equal(resumed.weights, whole.weights)
        state, expected = resumed.state_dict(), whole.state_dict()
        assert state.keys() == expected.keys()
        for key, value in expected.items():
            assert torch.equal(state[key], value) if isinstance(value, torch.Tensor) else state[key] == value, key

    def test_origin_says_where_every_point_was(self, name):
        sampler = started(SAMPLERS[name]())
        for step in (3, 6):
            former = sampler.points
            sampler.update(step, ridge, sweep)
            stayed = sampler.origin >= 0
            assert torch.equal(sampler.points[stayed], former[sampler.origin[stayed]])
            fresh = sampler.points[~stayed]
            assert not (fresh[:, None] == former[None]).all(2).any()
            assert not stayed.any() if name in REDRAWING else stayed.any()

    def test_starts_anew_in_another_stage(self, name):
        sampler = started(SAMPLERS[name]())
        updates(sampler, range(8))
        sampler.start(Rectangle(), generator(0))
        assert torch.equal(sampler.points, started(SAMPLERS[name]()).points)
        assert updates(sampler, range(4)) == [3]


@pytest.mark.parametrize("name", ADAPTIVE)
class TestEveryAdaptiveSampler:
    @pytest.mark.parametrize("geometry", GEOMETRIES)
    def test_respects_the_geometry(self, name, geometry):
        domain = GEOMETRIES[geometry]()
        sampler = started(SAMPLERS[name](), domain)
        for step in (3, 6):
            sampler.update(step, ridge, sweep)
            assert domain.contains(sampler.points).all()
            assert sampler.points.shape == (len(sampler.weights), len(domain.coordinates))

    def test_moves_points_to_where_the_residual_is(self, name):
        # a residual that is a hundred times larger in a strip of one tenth of the domain
        sampler = started(SAMPLERS[name]())
        near = (sampler.points[:, 0] > 0.8).sum().item()
        sampler.update(3, lambda points: torch.where(points[:, 0] > 0.8, 1.0, 0.01).double(), sweep)
        assert (sampler.points[:, 0] > 0.8).sum().item() > near + 10

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_a_residual_that_is_not_finite_is_named_with_sampler_and_place(self, name, value):
        sampler = started(SAMPLERS[name]())
        points = sampler.points

        def broken(points):
            return torch.where(points[:, 0] > 0.5, value, 1.0)

        with pytest.raises(ResidualNotFinite, match=rf"{type(sampler).__name__}: the residual .* x=0\.\d+, t=0\.\d+"):
            sampler.update(3, broken, sweep)
        assert sampler.points is points and sampler.changes == 0

    def test_a_residual_of_the_wrong_shape_is_named(self, name):
        sampler = started(SAMPLERS[name]())
        with pytest.raises(ValueError, match=rf"{type(sampler).__name__}: the residual of .* one number per point"):
            sampler.update(3, lambda points: points, sweep)

    def test_zero_residuals_leave_points_everywhere(self, name):
        sampler = started(SAMPLERS[name]())
        sampler.update(3, lambda points: torch.zeros(len(points), dtype=torch.float64), sweep)
        left = (sampler.points[:, 0] < 0).double().mean().item()
        assert 0.3 < left < 0.7  # four standard deviations of a fair coin thrown a hundred times

    def test_takes_residuals_of_any_precision_and_sign(self, name):
        plain, rounded = started(SAMPLERS[name]()), started(SAMPLERS[name]())
        plain.update(3, lambda points: ridge(points).float().double(), sweep)
        rounded.update(3, lambda points: -ridge(points).float(), sweep)
        assert torch.equal(plain.points, rounded.points)


@given(
    every=st.integers(1, 50),
    first=st.one_of(st.none(), st.integers(0, 100)),
    steps=st.sets(st.integers(0, 300), min_size=1),
)
def test_changes_come_with_the_first_step_seen_at_or_after_each_mark(every, first, steps):
    sampler = started(Uniform(2, every, first))
    start = every if first is None else first
    marks = range(start, 301, every)
    expected = {min((step for step in steps if step >= mark), default=None) for mark in marks} - {None}
    assert updates(sampler, sorted(steps)) == sorted(expected)


def test_a_sampler_without_interval_never_changes():
    assert not any(started(Uniform(4)).due(step) for step in range(5000))


def test_a_stage_can_begin_with_the_points_of_the_one_before():
    before = started(Uniform(100)).points
    sampler = RARD(50, every=1, add=10, maximum=120, candidates=100)
    sampler.start(Rectangle(), generator(), before)
    assert torch.equal(sampler.points, before)
    sampler.update(1, ridge)
    assert torch.equal(sampler.points[:100], before) and len(sampler.points) == 110
    with pytest.raises(ConfigurationError, match=r"RAD works with .*\(50, 2\).*\(100, 2\).*Set its n to 100"):
        RAD(50, every=1, candidates=100).start(Rectangle(), generator(), before)
    with pytest.raises(ConfigurationError, match=r"up to 99, 2.*Raise its maximum"):
        RARD(50, every=1, add=10, maximum=99, candidates=100).start(Rectangle(), generator(), before)


def test_a_state_of_another_sampler_or_domain_is_refused():
    state = started(SAMPLERS["rad"]()).state_dict()
    with pytest.raises(ConfigurationError, match="sampler RAD, but the configuration has Uniform"):
        started(Uniform(100)).load_state_dict(state)
    with pytest.raises(ConfigurationError, match=r"\['x', 't'\], but the configuration has \['x', 'y'\]"):
        started(SAMPLERS["rad"](), GEOMETRIES["disk"]()).load_state_dict(state)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Uniform(0), "Uniform: n=0"),
        (lambda: Uniform(10, every=0), "Uniform: every=0"),
        (lambda: Uniform(10, every=1, first=-1), "Uniform: first=-1"),
        (lambda: RAD(10, 1, kind="random"), "RAD: kind=random .* uniform, sobol, latin_hypercube"),
        (lambda: RAD(10, 1, candidates=9), "RAD: candidates=9 .* at least n=10"),
        (lambda: RAD(10, 1, k=-1), "RAD: k=-1"),
        (lambda: RAD(10, 1, c=-1), "RAD: c=-1"),
        (lambda: RARD(10, 1, add=0, maximum=20), "RARD: add=0"),
        (lambda: RARD(10, 1, add=5, maximum=10), "RARD: maximum=10 .* more than the n=10"),
        (lambda: RARD(10, 1, add=5, maximum=20, candidates=4), "RARD: candidates=4"),
        (lambda: Hierarchical(10, 1, cells=1), "Hierarchical: cells=1"),
        (lambda: Hierarchical(10, 1, depth=0), "Hierarchical: depth=0"),
    ],
)
def test_impossible_settings_are_named(build, message):
    with pytest.raises(ConfigurationError, match=message):
        build()
