import matplotlib as mpl
import pytest

from training.errors import InputError
from training.report.style import CYCLE, GREY, canvas, save


def luminance(colour):
    """Of sRGB, as WCAG defines it."""
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in mpl.colors.to_rgb(colour)]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), parts, strict=True))


def test_a_figure_is_a_vector_file_a_picture_and_equal_to_its_repetition(tmp_path):
    drawn = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        with canvas() as (figure, (axes,)):
            axes.plot([0, 1], [1, 0])
            drawn.append(save(figure, folder, "line", "Line", "A line."))
    assert drawn[0].svg.read_bytes() == drawn[1].svg.read_bytes() and b"<svg" in drawn[0].svg.read_bytes()[:1000]
    assert drawn[0].png.read_bytes() == drawn[1].png.read_bytes() and drawn[0].png.read_bytes()[1:4] == b"PNG"


def test_the_style_ends_with_the_canvas():
    before = mpl.rcParams["axes.spines.top"]
    with canvas():
        assert mpl.rcParams["axes.spines.top"] is False
    assert mpl.rcParams["axes.spines.top"] == before


def test_lines_stand_out_from_paper():
    # WCAG asks for a contrast of 3 of what carries meaning; sky blue is kept for fills and second curves
    weak = [colour for colour in CYCLE if 1.05 / (luminance(colour) + 0.05) < 3]
    assert len(weak) == 1 and GREY not in weak


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with canvas() as (figure, _), pytest.raises(InputError, match="file"):
        save(figure, tmp_path / "file" / "figures", "x", "X", "X.")
