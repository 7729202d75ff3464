"""Every kind of domain gets figures that show what was computed, in files that any reader opens."""

import math

import numpy as np
import pytest

from pinn.solve.figures.curves import draw_axis_slices, draw_error_distribution, draw_slices
from pinn.solve.figures.equation import check_formula, draw_equation
from pinn.solve.figures.grids import coarsened, evenly, find_grid
from pinn.solve.figures.learning import draw_accuracy, draw_losses, draw_parameters
from pinn.solve.figures.maps import draw_residual, draw_solution, find_sheets
from pinn.solve.figures.numbers import digits
from pinn.solve.figures.points import draw_points
from pinn.solve.results import Evaluated, FoundParameter, PointSnapshot
from training.errors import ConfigurationError

RANDOM = np.random.default_rng(0)


def mesh(*axes):
    return np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)


def evaluated(coordinates, time, points, reference=True, scale=1e-5):
    exact = np.prod(np.sin(2 * points + 0.3), axis=1)
    error = scale * np.cos(3 * points[:, 0])
    return Evaluated(
        coordinates, time, points, {"u": exact + error}, {"u": exact} if reference else {}, {"equation": 10 * error}
    )


X, T = np.linspace(-1, 1, 41), np.linspace(0, 1, 21)
SPACE_TIME = evaluated(("x", "t"), "t", mesh(X, T))
SQUARE = mesh(X, X)
L_SHAPE = evaluated(("x", "y"), None, SQUARE[(SQUARE[:, 0] < 0) | (SQUARE[:, 1] < 0)])
DISK = evaluated(("x", "y"), None, SQUARE[np.hypot(*SQUARE.T) <= 1])
SCATTERED = evaluated(("x", "y"), None, RANDOM.uniform(-1, 1, (500, 2)))
PLANE_TIME = evaluated(("x", "y", "t"), "t", mesh(X[::2], X[::2], T[::4]))
TWO_TIMES = evaluated(("x", "y", "t"), "t", mesh(X[::2], X[::2], T[::20]))
LINE = evaluated(("x",), None, X[:, None])
MANY = tuple(f"x{i}" for i in range(1, 11))
TEN = evaluated(MANY, None, RANDOM.uniform(0, 1, (800, 10)))


class TestGrids:
    def test_values_come_to_their_points_whatever_the_order(self):
        points = mesh(X, T)
        shuffled = RANDOM.permutation(len(points))
        grid = find_grid(points[shuffled])
        assert grid.shape == (41, 21)
        np.testing.assert_array_equal(grid.fill(np.arange(len(points))[shuffled]), np.arange(41 * 21).reshape(41, 21))

    def test_holes_are_no_numbers(self):
        grid = find_grid(L_SHAPE.points)
        filled = grid.fill(np.ones(len(L_SHAPE.points)))
        assert filled.shape == (41, 41) and np.isnan(filled).sum() == 41 * 41 - len(L_SHAPE.points)
        assert np.isnan(filled[-1, -1]) and filled[0, 0] == 1

    def test_rounding_makes_no_lines_of_its_own(self):
        # 0.1 + 0.2 is not 0.3: lines that differ in the last bits are one
        points = mesh(X, T) * (1 + 1e-15 * RANDOM.uniform(-1, 1, (41 * 21, 1)))
        assert find_grid(points).shape == (41, 21)

    def test_scattered_points_are_no_grid(self):
        assert find_grid(SCATTERED.points) is None

    def test_a_coarser_grid_keeps_the_largest_error(self):
        grid = np.zeros((1000, 30))
        grid[777, 13], grid[500, :] = 5.0, np.nan
        coarse, steps = coarsened(grid, 100, largest=True)
        assert coarse.shape == (100, 30) and steps == (10, 1)
        assert coarse[77, 13] == 5.0 and not np.isnan(coarse).any()

    def test_a_small_grid_stays_as_it_is(self):
        grid = RANDOM.standard_normal((7, 9))
        assert coarsened(grid, 100, largest=True)[0] is grid

    @pytest.mark.parametrize(
        ("count", "wanted", "first", "indices"),
        [(9, 3, True, [0, 4, 8]), (9, 2, False, [4, 8]), (2, 6, True, [0, 1]), (1, 4, False, [0]), (5, 1, False, [4])],
    )
    def test_moments_are_spread_and_end_at_the_last(self, count, wanted, first, indices):
        assert evenly(count, wanted, first) == indices


class TestMaps:
    @pytest.mark.parametrize("case", [SPACE_TIME, L_SHAPE, SCATTERED, TWO_TIMES], ids=["xt", "L", "scattered", "xyt"])
    def test_solution_and_residual_of_every_plane_are_drawn_with_their_numbers(self, tmp_path, case):
        saved = draw_solution(tmp_path, case, "u")
        assert saved.name == "solution_u" and b"<svg" in saved.svg.read_bytes()[:1000]
        assert f"at most {digits(np.abs(case.error('u')).max())}" in saved.caption
        assert f"the reference reaches {digits(np.abs(case.reference['u']).max())}" in saved.caption
        residual = draw_residual(tmp_path, case)
        assert f"equation {digits(np.sqrt(np.mean(case.residual['equation'] ** 2)))}" in residual.caption

    def test_time_runs_to_the_right_and_space_keeps_its_shape(self):
        (sheet,) = find_sheets(SPACE_TIME)
        assert (sheet.across, sheet.up, sheet.equal) == ("t", "x", False)
        np.testing.assert_array_equal(sheet.positions, SPACE_TIME.points[:, ::-1])
        (sheet,) = find_sheets(L_SHAPE)
        assert (sheet.across, sheet.up, sheet.equal) == ("x", "y", True)

    def test_a_third_coordinate_gives_sheets_of_its_points_only(self):
        sheets = find_sheets(PLANE_TIME)
        assert [sheet.label for sheet in sheets] == ["t = 0", "t = 0.400", "t = 0.600", "t = 1.00"]
        for sheet, time in zip(sheets, (0.0, 0.4, 0.6, 1.0), strict=True):
            np.testing.assert_allclose(PLANE_TIME.points[sheet.chosen, 2], time, rtol=1e-15)
            assert len(sheet.chosen) == 21 * 21 and sheet.equal

    def test_other_numbers_of_coordinates_have_no_plane(self, tmp_path):
        assert draw_solution(tmp_path, LINE, "u") is None and draw_solution(tmp_path, TEN, "u") is None
        assert draw_residual(tmp_path, TEN) is None

    def test_without_a_reference_only_the_solution_is_shown_and_no_error_claimed(self, tmp_path):
        saved = draw_solution(tmp_path, evaluated(("x", "t"), "t", mesh(X, T), reference=False), "u")
        assert saved.caption == "The solution u."

    def test_an_exact_solution_and_a_constant_field_are_drawn(self, tmp_path):
        points, ones = mesh(X, T), np.ones(41 * 21)
        exact = Evaluated(("x", "t"), "t", points, {"u": ones}, {"u": ones}, {"equation": 0 * ones})
        assert "at most 0, where" in draw_solution(tmp_path, exact, "u").caption
        residual = draw_residual(tmp_path, exact)
        assert "equation 0 (largest 0)" in residual.caption and residual.svg.exists()

    def test_a_field_that_is_no_number_is_drawn_too(self, tmp_path):
        broken = Evaluated(("x", "t"), "t", mesh(X, T), {"u": np.full(41 * 21, np.nan)}, {"u": np.ones(41 * 21)})
        assert "at most not a number" in draw_solution(tmp_path, broken, "u").caption

    def test_a_fine_grid_says_what_a_cell_shows(self, tmp_path):
        fine = evaluated(("x", "t"), "t", mesh(np.linspace(0, 1, 1500), np.linspace(0, 1, 5)))
        assert "largest of up to 3 × 3 points" in draw_solution(tmp_path, fine, "u").caption


class TestCurves:
    def test_slices_stand_at_several_times_in_order_of_space(self, tmp_path):
        saved = draw_slices(tmp_path, SPACE_TIME, "u")
        assert saved.name == "slices_u" and "at 4 times" in saved.caption

    def test_one_coordinate_is_one_curve(self, tmp_path):
        assert "times" not in draw_slices(tmp_path, LINE, "u").caption

    @pytest.mark.parametrize("case", [L_SHAPE, TEN, SCATTERED], ids=["L", "ten", "scattered"])
    def test_what_has_no_time_has_no_slices_of_it(self, tmp_path, case):
        assert draw_slices(tmp_path, case, "u") is None

    def test_lines_through_ten_dimensions_say_how_far_apart_they_are(self, tmp_path):
        slices = {}
        for number, name in enumerate(MANY):
            points = np.full((51, 10), 0.5)
            points[:, number] = np.linspace(0, 1, 51)
            slices[name] = evaluated(MANY, None, points, scale=1e-5 * (number + 1))
        saved = draw_axis_slices(tmp_path, slices, "u")
        largest = max(np.abs(line.error("u")).max() for line in slices.values())
        assert f"differ by {digits(largest)} at most" in saved.caption
        assert draw_axis_slices(tmp_path, {}, "u") is None

    def test_the_distribution_of_the_error_carries_its_mean_and_largest(self, tmp_path):
        caption = draw_error_distribution(tmp_path, TEN, "u").caption
        error = TEN.error("u")
        assert f"root mean square {digits(np.sqrt(np.mean(error**2)))}" in caption and "800 points" in caption
        assert draw_error_distribution(tmp_path, evaluated(MANY, None, TEN.points, reference=False), "u") is None

    def test_an_exact_solution_has_a_distribution_too(self, tmp_path):
        exact = Evaluated(MANY, None, TEN.points, TEN.reference, TEN.reference)
        assert "root mean square 0 " in draw_error_distribution(tmp_path, exact, "u").caption


class TestPoints:
    @pytest.mark.parametrize(
        ("coordinates", "time"), [(("x", "t"), "t"), (("x", "y"), None), (MANY, None), (("x",), None)]
    )
    def test_points_of_any_dimension_are_drawn(self, tmp_path, coordinates, time):
        bounds = dict.fromkeys(coordinates, (0.0, 1.0))
        snapshots = [
            PointSnapshot(step, "adam", RANDOM.uniform(0, 1, (300 + step, len(coordinates))))
            for step in range(0, 100, 30)
        ]
        saved = draw_points(tmp_path, snapshots, coordinates, bounds, time)
        assert "300 to 390 collocation points at 4 moments" in saved.caption and saved.svg.stat().st_size > 5000

    def test_no_snapshot_is_no_figure(self, tmp_path):
        assert draw_points(tmp_path, [], ("x",), {"x": (0, 1)}, None) is None

    def test_gathered_points_look_different_from_spread_ones(self, tmp_path):
        bounds, spread = {"x": (0.0, 1.0), "t": (0.0, 1.0)}, RANDOM.uniform(0, 1, (2000, 2))
        gathered = np.stack([0.5 + 0.01 * spread[:, 0], spread[:, 1]], axis=1)
        drawn = [
            draw_points(tmp_path / name, [PointSnapshot(0, "adam", points)], ("x", "t"), bounds, "t")
            for name, points in (("spread", spread), ("gathered", gathered))
        ]
        assert drawn[0].png.read_bytes() != drawn[1].png.read_bytes() and "at one moment" in drawn[0].caption


ROWS = [
    {"step": step, "time": 1e9 + 2 * step, "seconds": 0.1 * step, "stage": int(step >= 50)}
    | {"train/loss": 1 / (step + 1), "train/equation": 0.9 / (step + 1), "train/initial": 0.1 / (step + 1)}
    | {"weight/equation": 1.0, "weight/initial": 10.0, "parameter/nu": 0.1 + 1 / (step + 1), "parameter/c": 2.5}
    for step in range(100)
]
VALIDATED = [
    {"step": step, "time": 1e9 + 2 * step, "validation/relative_l2_u": 0.1 / (step + 1)} for step in range(0, 100, 20)
]
LOGGED = sorted(ROWS + VALIDATED, key=lambda row: row["step"])
STAGES = {"adam": 0, "ssbroyden": 50}


class TestLearning:
    def test_losses_with_and_without_weights(self, tmp_path):
        assert "the weight of each" in draw_losses(tmp_path, LOGGED, STAGES).caption
        bare = [{name: value for name, value in row.items() if not name.startswith("weight/")} for row in LOGGED]
        assert "weight of each" not in draw_losses(tmp_path, bare, STAGES).caption
        assert draw_losses(tmp_path, [{"step": 0, "train/loss": 1.0}], {}) is None

    def test_accuracy_names_the_floor_and_the_bar(self, tmp_path):
        caption = draw_accuracy(tmp_path, LOGGED, STAGES, 1e-4, 1e-5).caption
        assert "Dashed: the reference's own error, 1.00e-4." in caption and "the bar, 1.00e-5" in caption
        caption = draw_accuracy(tmp_path, LOGGED, STAGES, 2e-16, None).caption
        assert "Below what is drawn: the reference's own error, 2.00e-16." in caption
        assert draw_accuracy(tmp_path, ROWS, STAGES, None, None) is None

    def test_time_is_that_of_training_if_it_was_logged_and_that_of_the_wall_otherwise(self, tmp_path):
        bare = [{name: value for name, value in row.items() if name != "seconds"} for row in LOGGED]
        drawn = [draw_accuracy(tmp_path / str(i), rows, STAGES, None, None) for i, rows in enumerate((LOGGED, bare))]
        assert drawn[0].svg.read_bytes() != drawn[1].svg.read_bytes() and "Dashed" not in drawn[0].caption

    @pytest.mark.filterwarnings("error")
    def test_a_stage_that_began_after_the_last_value_is_inside_the_figure(self, tmp_path):
        begun = [{"step": 0, "validation/relative_l2": 0.1}, {"step": 10, "validation/relative_l2": 0.01}]
        assert draw_accuracy(tmp_path, [{**row, "time": 0.0} for row in begun], {"adam": 0, "late": 5000}, None, None)

    def test_parameters_carry_value_truth_and_error(self, tmp_path):
        found = {"nu": FoundParameter(0.11, 1.1, 0.1), "c": FoundParameter(2.5, 1.0)}
        saved = draw_parameters(tmp_path, LOGGED, STAGES, found)
        assert saved.caption.endswith("nu is 0.11 (dashed: the truth, 0.1; off by 10.0 %); c is 2.5.")
        assert draw_parameters(tmp_path, LOGGED, STAGES, {}) is None


class TestEquation:
    def test_lines_are_set_one_below_the_other(self, tmp_path):
        one = draw_equation(tmp_path / "one", r"\frac{\partial u}{\partial t} = \nu \nabla^2 u")
        two = draw_equation(tmp_path / "two", "$u_t = v$\n v_x = u")
        assert b"<path" in one.svg.read_bytes() and b"<text" not in one.svg.read_bytes()
        assert two.caption == "The equation: u_t = v; v_x = u."

    def test_a_long_line_is_set_smaller_instead_of_cut(self, tmp_path):
        saved = draw_equation(tmp_path, " + ".join([r"\frac{\partial^2 u}{\partial x^2}"] * 20))
        from matplotlib.image import imread

        ink = imread(saved.png)[:, -10:, :3]
        assert ink.min() > 0.9  # the last pixels on the right are paper

    @pytest.mark.parametrize("formula", [r"\frac{u}", r"u_t = \nosuchthing x", r"\begin{cases} u \end{cases}"])
    def test_what_cannot_be_set_is_named_before_a_run(self, formula):
        with pytest.raises(ConfigurationError, match="formula cannot be set"):
            check_formula(formula)

    def test_no_formula_is_no_equation(self):
        with pytest.raises(ConfigurationError, match="formula is empty"):
            check_formula("  \n ")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((1.618e-8, "1.62e-8"), (0.012345, "0.0123"), (14.812, "14.8"), (1234.5, "1230"), (1.5e5, "1.50e5")),
        *((-2e-4, "−2.00e-4"), (9.999e-4, "0.00100"), (0.0, "0"), (None, "–"), (math.nan, "not a number")),
    ],
)
def test_numbers_have_three_significant_digits(value, text):
    assert digits(value) == text


def test_equal_figures_give_equal_files(tmp_path):
    files = [draw_solution(tmp_path / name, DISK, "u") for name in ("a", "b")]
    assert files[0].svg.read_bytes() == files[1].svg.read_bytes()
    assert files[0].png.read_bytes() == files[1].png.read_bytes()
