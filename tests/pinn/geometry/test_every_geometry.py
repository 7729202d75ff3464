"""Promises that every geometry keeps: points where they belong, even density, outward normals, repeatable draws."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pinn.geometry import Ball, Box, Disk, Interval, Polygon, Time
from pinn.geometry.unit_cube import KINDS
from training.errors import ConfigurationError, InputError

CORNER = [(-1, -1), (0, -1), (0, 0), (1, 0), (1, 1), (-1, 1)]
SPACES = [
    Interval(x=(-1, 2)),
    Box(x=(0, 2), y=(-1, 0)),
    Box.cube(4, -1, 1),
    Disk((0.5, -1), 0.7),
    Ball((1, 0, 0), 2),
    Ball((0,) * 6, 1.5, [f"x{i}" for i in range(6)]),
    Polygon(CORNER),
    Polygon([(0, 0), (3, 1), (0.5, 0.8)]),
    Box(x=(0, 2), y=(0, 1)) - Disk((1, 0.5), 0.3, name="hole"),
    Disk((0, 0), 1) | Disk((1, 0), 1),
    Box(x=(0, 1), y=(0, 1)) | Box(x=(1, 2), y=(0, 0.5)),
    Disk((0, 0), 1) & Box(x=(0, 2), y=(-2, 2)),
    Box(x=(0, 1), y=(0, 1), z=(0, 1)) - Ball((1, 1, 1), 0.5),
]
GEOMETRIES = [*SPACES, Time(1, 3), Interval(x=(0, 1)) * Time(0, 2), SPACES[8] * Time(0, 1)]
TINY = 1e-9


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=repr)
class TestEveryGeometry:
    @pytest.mark.parametrize("kind", KINDS)
    def test_draws_exactly_as_many_points_as_asked_for_and_all_of_them_strictly_inside(self, geometry, kind):
        for n in (0, 1, 137):
            points = geometry.sample(n, seeded(), kind)
            assert points.shape == (n, len(geometry.coordinates)) and points.dtype == torch.float64
            assert geometry.contains(points, -1e-15).all()

    def test_fills_the_inside_evenly(self, geometry):
        # the same fraction of points as of volume lies in each half of the bounding box; the volume from a fine grid
        points = geometry.sample(4000, seeded(1))
        box = torch.tensor(list(geometry.bounds.values()), dtype=torch.float64)
        cube = torch.rand(400_000, len(box), generator=seeded(2), dtype=torch.float64)
        grid = box[:, 0] + (box[:, 1] - box[:, 0]) * cube
        grid = grid[geometry.contains(grid)]
        cuts = box.mean(1) + 0.1 * (box[:, 1] - box[:, 0])
        expected, found = (grid < cuts).double().mean(0), (points < cuts).double().mean(0)
        deviation = torch.sqrt(expected * (1 - expected) * (1 / 4000 + 1 / len(grid)))
        assert ((found - expected).abs() < 4.5 * deviation).all()

    def test_volume_is_that_of_random_points(self, geometry):
        box = torch.tensor(list(geometry.bounds.values()), dtype=torch.float64)
        sides = box[:, 1] - box[:, 0]
        cube = torch.rand(400_000, len(box), generator=seeded(3), dtype=torch.float64)
        share = geometry.contains(box[:, 0] + sides * cube).double().mean().item()
        whole = sides.prod().item()
        error = math.sqrt(max(share * (1 - share), 1e-12) / 400_000) * whole
        assert abs(share * whole - geometry.volume) < 4.5 * math.hypot(error, geometry.volume_error) + 1e-9

    @pytest.mark.parametrize("kind", KINDS)
    def test_boundary_points_lie_on_their_part_with_unit_normals_that_point_outwards(self, geometry, kind):
        ends = geometry.boundary_parts[-2:] if geometry.time else ()
        for part in geometry.boundary_parts:
            points, normals = geometry.sample_boundary(60, seeded(), part, kind)
            assert points.shape == (60, len(geometry.coordinates)) and normals.shape == (60, len(geometry.space))
            assert geometry.contains(points, TINY).all() and not geometry.contains(points, -TINY).any()
            if part in ends:
                assert (normals == 0).all()
                continue
            torch.testing.assert_close(normals.norm(dim=1), torch.ones(60, dtype=torch.float64), rtol=1e-14, atol=0)
            step = torch.zeros_like(points)
            step[:, : len(geometry.space)] = 1e-7 * normals
            inner, outer = geometry.contains(points - step), geometry.contains(points + step)
            # a step in space cannot leave the ends of time, so time is left as it is
            assert inner.all() and not outer.any()

    def test_the_same_generator_state_gives_the_same_points(self, geometry):
        for kind in KINDS:
            first, second, other = (geometry.sample(50, seeded(seed), kind) for seed in (5, 5, 6))
            assert torch.equal(first, second) and not torch.equal(first, other)

    def test_the_generator_moves_on(self, geometry):
        generator = seeded()
        for kind in KINDS:
            assert not torch.equal(geometry.sample(20, generator, kind), geometry.sample(20, generator, kind))

    def test_whole_boundary_is_the_boundary_of_space_in_proportion_to_size(self, geometry):
        if not geometry.whole_boundary:
            with pytest.raises(ConfigurationError, match="no boundary in space"):
                geometry.sample_boundary(3, seeded())
            return
        points, _ = geometry.sample_boundary(3000, seeded(7))
        single, _ = geometry.sample_boundary(3000, seeded(8), list(geometry.whole_boundary)[::-1])
        # the order in which parts are named does not matter for the density
        box = torch.tensor(list(geometry.bounds.values()), dtype=torch.float64)
        cuts = box.mean(1) + 0.1 * (box[:, 1] - box[:, 0])
        a, b = (points < cuts).double().mean(0), (single < cuts).double().mean(0)
        mean = (a + b) / 2
        assert ((a - b).abs() <= 4.5 * torch.sqrt(mean * (1 - mean) * 2 / 3000) + 1e-12).all()

    def test_an_unknown_part_is_answered_with_the_known_ones(self, geometry):
        with pytest.raises(ConfigurationError, match="no boundary part 'nowhere'"):
            geometry.sample_boundary(3, seeded(), "nowhere")

    def test_an_unknown_kind_is_answered_with_the_nearest(self, geometry):
        with pytest.raises(ConfigurationError, match="did you mean sobol"):
            geometry.sample(3, seeded(), "sobl")


@pytest.mark.parametrize("space", SPACES, ids=repr)
def test_gauss_theorem_holds_for_boundary_points_and_normals(space):
    # ∫ div F dV = ∮ F·n dS for F = x + sin; wrong densities, missing or inner boundary, or wrong normals break it
    d = len(space.coordinates)
    frequency = torch.linspace(0.7, 1.3, d, dtype=torch.float64)
    inside = space.sample(20_000, seeded(), "sobol")
    divergence = (1 + frequency * torch.cos(frequency * inside)).sum(1)
    volume_side = divergence.mean() * space.volume
    boundary, size = 0.0, 0.0
    for piece in space.pieces:
        cube = torch.quasirandom.SobolEngine(max(piece.dimensions, 1), scramble=True, seed=1)
        unit = cube.draw(20_000, dtype=torch.float64)[:, : piece.dimensions].clamp(1e-9, 1 - 1e-9)
        points, normals, keep = piece.place(unit)
        flux = ((points + torch.sin(frequency * points)) * normals).sum(1) * keep
        boundary, size = boundary + flux.mean() * piece.size, size + piece.size
    # quasi-random points: 20,000 of them give about 1e-3 of the surface, plus the volume's own error
    assert abs(volume_side - boundary) < 3e-3 * size + 4.5 * space.volume_error * d * 2


@given(
    low=st.floats(-1e3, 1e3),
    length=st.floats(1e-3, 1e3),
    n=st.integers(1, 60),
    seed=st.integers(0, 2**31),
    kind=st.sampled_from(KINDS),
)
@settings(max_examples=60, deadline=None)
def test_any_box_keeps_its_points_and_its_faces(low, length, n, seed, kind):
    box = Box(x=(low, low + length), y=(0, 1))
    points = box.sample(n, seeded(seed), kind)
    assert len(points) == n and ((points[:, 0] > low) & (points[:, 0] < low + length)).all()
    on_face, normals = box.sample_boundary(n, seeded(seed), "x=max", kind)
    assert (on_face[:, 0] == low + length).all() and (normals[:, 0] == 1).all()


@given(angles=st.lists(st.integers(1, 359), min_size=3, max_size=9, unique=True), radii=st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_any_star_shaped_polygon_keeps_its_points_its_area_and_its_smooth_distance(angles, radii):
    angles = sorted(angles)
    gaps = [(b - a) % 360 for a, b in zip(angles, angles[1:] + angles[:1], strict=True)]
    if max(gaps) > 150 or min(gaps) < 8:
        return
    lengths = (0.5 + torch.rand(len(angles), generator=seeded(radii), dtype=torch.float64)).tolist()
    rays = zip(map(math.radians, angles), lengths, strict=True)
    corners = [(length * math.cos(angle), length * math.sin(angle)) for angle, length in rays]
    polygon = Polygon(corners)
    fan = sum(
        lengths[i] * lengths[i - 1] * math.sin(math.radians((angles[i] - angles[i - 1]) % 360)) / 2
        for i in range(len(angles))
    )
    assert polygon.volume == pytest.approx(fan, rel=1e-12)
    assert Polygon(corners[::-1]).volume == pytest.approx(fan, rel=1e-12)
    points = polygon.sample(300, seeded(), "sobol")
    assert polygon.contains(points).all()
    assert polygon.distance(polygon.columns(points)).min() > 0
    for part in polygon.boundary_parts:
        on_part, _ = polygon.sample_boundary(20, seeded(), part)
        assert polygon.distance(polygon.columns(on_part), part).abs().max() < 1e-13
        assert polygon.distance(polygon.columns(points), part).min() > 0


def test_latin_hypercube_has_one_point_in_every_slice_of_every_coordinate():
    box = Box(x=(0, 1), y=(0, 1)) * Time(0, 1)
    points = box.sample(100, seeded(), "latin_hypercube")
    for column in points.unbind(1):
        assert torch.equal((column * 100).floor().sort().values, torch.arange(100.0, dtype=torch.float64))
    on_wall, _ = box.sample_boundary(100, seeded(), "x=0", "latin_hypercube")
    assert torch.equal((on_wall[:, 2] * 100).floor().sort().values, torch.arange(100.0, dtype=torch.float64))


@pytest.mark.parametrize("geometry", [Box(x=(0, 1), y=(0, 1)), Polygon(CORNER), Disk((0, 0), 1)], ids=repr)
def test_sobol_points_cover_better_than_independent_ones(geometry):
    # the mean of a smooth function: the error of 4,096 Sobol points is far below 1/sqrt(n)
    def mean(kind, seed, n=4096):
        return torch.cos(2 * geometry.sample(n, seeded(seed), kind)).prod(1).mean().item()

    exact = sum(mean("sobol", seed, 2**16) for seed in range(4)) / 4
    errors = {kind: sum(abs(mean(kind, seed) - exact) for seed in range(8)) / 8 for kind in ("sobol", "uniform")}
    assert errors["sobol"] < errors["uniform"] / 5


@pytest.mark.parametrize("n", [-1, 2.5])
def test_a_number_of_points_that_is_none_is_refused(n):
    with pytest.raises(InputError, match="whole number"):
        Interval(x=(0, 1)).sample(n, seeded())


def test_points_come_from_a_generator_only():
    with pytest.raises(InputError, match=r"torch\.Generator"):
        Interval(x=(0, 1)).sample(3, None)
