"""What single shapes promise: their names, their sizes, their smooth distances, and what they refuse."""

import math

import pytest
import torch

from pinn.geometry import Ball, Box, Disk, Interval, Polygon, Time
from pinn.jets.jet import Jet
from pinn.jets.layout import JetLayout
from training.errors import ConfigurationError, InputError

CORNER = Polygon([(-1, -1), (0, -1), (0, 0), (1, 0), (1, 1), (-1, 1)])
CHEVRON = Polygon([(0, 0), (2, 0.4), (0, 0.8), (0.5, 0.4)])
PLATE = Box(x=(0, 2), y=(0, 1)) - Disk((1, 0.5), 0.2, name="hole")
NOTCHED = Box(x=(0, 1), y=(0, 1)) - Box("notch", x=(0.5, 1.5), y=(0.5, 1.5))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class TestNames:
    def test_parts_are_named_by_coordinate_and_value(self):
        domain = Box(x=(-1, 1), y=(0, 0.5)) * Time(0, 10)
        assert domain.boundary_parts == ("x=-1", "x=1", "y=0", "y=0.5", "t=0", "t=10")
        assert domain.coordinates == ("x", "y", "t") and domain.space == ("x", "y") and domain.time == "t"
        assert domain.whole_boundary == ("x=-1", "x=1", "y=0", "y=0.5")

    def test_numbers_in_names_are_compared_as_numbers(self):
        interval = Interval(x=(-math.pi, 1))
        assert interval.parts("x = 1.0") == ("x=1",)
        assert interval.parts(f"x={-math.pi!r}") == interval.parts("x=min") == interval.parts("x=-3.14159")
        assert interval.parts(["x=max", "x=1"]) == ("x=1",)

    def test_ends_that_would_be_called_the_same_get_all_digits(self):
        assert Interval(x=(1, 1 + 1e-9)).boundary_parts == ("x=1.0", "x=1.000000001")

    def test_a_part_that_does_not_exist_is_answered_with_the_nearest(self):
        with pytest.raises(ConfigurationError, match=r"no boundary part 'x=2'; did you mean x=.*Known here: x=-1, x=1"):
            Interval(x=(-1, 1)).parts("x=2")

    def test_edges_of_a_polygon_have_the_names_they_were_given_either_way_round(self):
        corners, names = [(0, 0), (2, 0), (2, 1), (0, 1)], ["bottom", "out", "top", "in"]
        clockwise = Polygon(corners[::-1], edges=["top", "out", "bottom", "in"])
        for polygon in (Polygon(corners, edges=names), clockwise):
            assert set(polygon.boundary_parts) == set(names)
            points, normals = polygon.sample_boundary(20, seeded(), "out")
            assert (points[:, 0] == 2).all() and (normals == torch.tensor([1.0, 0.0], dtype=torch.float64)).all()

    def test_edges_of_one_name_are_one_part(self):
        polygon = Polygon([(0, 0), (2, 0), (2, 1), (0, 1)], edges=["wall", "out", "wall", "in"])
        points, _ = polygon.sample_boundary(400, seeded(), "wall", "sobol")
        assert abs((points[:, 1] == 0).double().mean() - 0.5) < 0.01

    def test_space_and_time_may_not_share_a_name(self):
        with pytest.raises(ConfigurationError, match="space coordinate already"):
            Interval(t=(0, 1)) * Time(0, 1)


class TestSizes:
    def test_closed_forms(self):
        assert Disk((0, 0), 2).volume == pytest.approx(4 * math.pi, rel=1e-15)
        assert Ball((0, 0, 0), 2).volume == pytest.approx(4 / 3 * math.pi * 8, rel=1e-14)
        assert CORNER.volume == 3.0
        assert PLATE.volume == pytest.approx(2 - 0.04 * math.pi, rel=1e-15) and PLATE.volume_error == 0.0
        assert NOTCHED.volume == 0.75 and NOTCHED.volume_error == 0.0

    def test_a_volume_without_closed_form_states_an_error_that_holds(self):
        two = Disk((0, 0), 1) | Disk((1, 0), 1)
        exact = 4 * math.pi / 3 + math.sqrt(3) / 2
        assert 0 < two.volume_error < 0.01 and abs(two.volume - exact) < 3 * two.volume_error


class TestCombinations:
    def test_boundary_inside_the_other_one_is_gone(self):
        two = Disk((0, 0), 1, name="left") | Disk((1, 0), 1, name="right")
        points, _ = two.sample_boundary(2000, seeded(), "left")
        assert points[:, 0].max() <= 0.5 + 1e-9
        assert (Box(x=(0, 1), y=(0, 1)) | Box(x=(1, 2), y=(0, 1))).boundary_parts == ("x=0", "y=0", "y=1", "x=2")

    def test_boundary_that_both_have_is_drawn_from_once(self):
        stacked = Box(x=(0, 1), y=(0, 1)) | Box(x=(0, 1), y=(0.5, 2))
        points, _ = stacked.sample_boundary(4000, seeded(), "x=0", "sobol")
        histogram = torch.histc(points[:, 1], 4, 0, 2)
        assert (histogram - 1000).abs().max() < 30

    def test_normals_of_a_hole_point_into_it(self):
        points, normals = PLATE.sample_boundary(100, seeded(), "hole")
        towards = torch.tensor([1, 0.5], dtype=torch.float64) - points
        torch.testing.assert_close(normals, towards / 0.2, rtol=0, atol=1e-12)

    def test_parts_of_which_nothing_is_left_do_not_exist(self):
        assert NOTCHED.boundary_parts == ("x=0", "x=1", "y=0", "y=1", "notch:x=0.5", "notch:y=0.5")
        with pytest.raises(ConfigurationError, match=r"no boundary part 'notch:x=1\.5'"):
            NOTCHED.parts("notch:x=1.5")

    def test_what_cannot_be_combined_is_refused(self):
        with pytest.raises(ConfigurationError, match="different coordinates"):
            Interval(x=(0, 1)) | Box(x=(0, 1), y=(0, 1))
        with pytest.raises(ConfigurationError, match="multiply by Time then"):
            Interval(x=(0, 1)) * Time(0, 1) | Interval(x=(1, 2))
        with pytest.raises(ConfigurationError, match="is empty"):
            Interval(x=(0, 1)) & Interval(x=(2, 3))


DISTANCES = [
    (Interval(x=(-1, 2)), None),
    (Interval(x=(-1, 2)), "x=2"),
    (Box(x=(0, 2), y=(0, 1)), None),
    (Box(x=(0, 2), y=(0, 1)), ("x=0", "y=1")),
    (Box.cube(6), None),
    (Disk((1, 2), 0.5), None),
    (Ball((0, 0, 0), 2), None),
    (CORNER, None),
    (CORNER, "edge 2"),
    (CORNER, ("edge 3", "edge 4")),
    (CHEVRON, None),
    (CHEVRON, "edge 3"),
    (PLATE, None),
    (PLATE, "hole"),
    (NOTCHED, None),
    (Disk((0, 0), 1) | Disk((1, 0), 1), None),
    (Disk((0, 0), 1) & Box(x=(0, 2), y=(-2, 2)), None),
    (Time(0, 2), "t=0"),
    (Interval(x=(0, 1)) * Time(0, 2), ("x=0", "t=0")),
]


@pytest.mark.parametrize(("domain", "part"), DISTANCES, ids=lambda case: repr(case))
class TestSmoothDistances:
    def test_vanish_on_the_part_and_nowhere_inside(self, domain, part):
        on_part, _ = domain.sample_boundary(200, seeded(), part, "sobol")
        inside = domain.sample(2000, seeded(), "sobol")
        values = domain.distance(domain.columns(inside), part)
        assert domain.distance(domain.columns(on_part), part).abs().max() < 1e-12
        assert values.min() > 0 and 0.1 < values.max() < 3

    def test_vanish_on_no_other_part(self, domain, part):
        rest = [name for name in domain.boundary_parts if name not in domain.parts(part)]
        for name in rest:
            points, _ = domain.sample_boundary(200, seeded(), name)
            assert domain.distance(domain.columns(points), part).min() > 1e-9

    def test_grow_linearly_from_the_part(self, domain, part):
        points, normals = domain.sample_boundary(50, seeded(), part)
        step = torch.zeros_like(points)
        step[:, : len(domain.space)] = -normals
        at_rest = step.abs().sum(1) == 0
        step[at_rest, -1] = 1.0
        near, far = (domain.distance(domain.columns(points + h * step), part) for h in (1e-7, 2e-7))
        # close to a corner the other edge's distance grows too
        assert (near > 0).all() and ((far / near - 2).abs().median() < 1e-4)

    def test_on_jets_have_the_derivatives_of_autograd(self, domain, part):
        points = domain.sample(20, seeded(3)).requires_grad_()
        first = domain.coordinates[0]
        layout = JetLayout(domain.coordinates, [(first, first), *((name,) for name in domain.coordinates)])
        jet = domain.distance(Jet.coordinates(layout, points.detach()), part)
        value = domain.distance(domain.columns(points), part)
        if not isinstance(jet, Jet):
            pytest.fail("the distance of jets is a jet")
        (gradient,) = torch.autograd.grad(value.sum(), points, create_graph=True)
        for column, name in enumerate(domain.coordinates):
            torch.testing.assert_close(jet[(name,)][:, 0], gradient[:, column], rtol=1e-10, atol=1e-12)
        curvature = torch.zeros(len(points), dtype=torch.float64)
        if gradient.requires_grad:
            (second,) = torch.autograd.grad(gradient[:, 0].sum(), points, allow_unused=True)
            curvature = curvature if second is None else second[:, 0]
        torch.testing.assert_close(jet[first, first][:, 0], curvature, rtol=1e-8, atol=1e-9)


def test_a_part_of_a_union_has_no_smooth_distance_and_says_what_to_do():
    union = Box(x=(0, 1), y=(0, 1)) | Box(x=(1, 2), y=(0, 0.5))
    with pytest.raises(ConfigurationError, match="make the condition soft, or describe the shape as one Polygon"):
        union.distance(union.columns(union.sample(3, seeded())), "x=0")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Interval(x=(1, 0)), "x runs from a finite lower to a higher"),
        (lambda: Interval(x=(0, float("nan"))), "x runs from a finite lower"),
        (lambda: Interval(x=(0, 1), y=(0, 1)), "one coordinate; got x, y. Use Box"),
        (lambda: Box(), "at least one coordinate"),
        (lambda: Disk((0, 0), -1), "radius is positive"),
        (lambda: Disk((0, 0, 0), 1), "one number for each coordinate"),
        (lambda: Time(1, 1), "t runs from"),
        (lambda: Polygon([(0, 0), (1, 1)]), "three or more"),
        (lambda: Polygon([(0, 0), (1, 1), (1, 0), (0, 1)]), "edge 1 and edge 3 cross"),
        (lambda: Polygon([(0, 0), (1, 0), (1, 0), (0, 1)]), "edge 2 has no length"),
        (lambda: Polygon([(0, 0), (2, 0), (1, 0)]), "overlap|no area"),
        (lambda: Polygon([(0, 0), (1, 0), (0, 1)], edges=["a"]), "3 edges; 1 names"),
    ],
)
def test_impossible_shapes_are_named(make, message):
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_points_with_other_columns_are_refused():
    with pytest.raises(InputError, match=r"columns x, t, so the shape \(n, 2\); got \(4, 3\)"):
        (Interval(x=(0, 1)) * Time(0, 1)).contains(torch.zeros(4, 3))
