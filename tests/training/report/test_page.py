"""Both halves' pages are made of one skeleton, which says what it has and takes what users typed as text."""

import base64
import re
from types import SimpleNamespace

import pytest
from jinja2 import UndefinedError

from training.report.gates import Gate
from training.report.page import render_page, signed
from training.report.style import canvas, save

FACTS = {"title": "A <title>", "notes": ("mind & read",), "command": "python train.py", "phases": {"training": 61.0}}
FACTS |= {"seeds": {"run": 1}, "environment": {"cores": 2}, "files": {"a.txt": "words"}}


def page(gates=(), figures=(), sections=None, template="half.html.j2", **facts):
    everything = SimpleNamespace(**{**FACTS, **facts})
    return render_page("half", template, gates, "verdict < all", figures, sections or {}, everything, value=-0.5)


@pytest.fixture(autouse=True)
def half(tmp_path, monkeypatch):
    """A package with a template of its own, as a half has."""
    package = tmp_path / "half"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "half.html.j2").write_text(
        '{% extends "base.html.j2" %}{% from "parts.html.j2" import row, pictures %}'
        "{% block half %}toy{% endblock %}{% block content %}<table>{{ row('size', value, 'm', 'beside') }}</table>"
        "{% for name, saved in sections.items() %}<h2>{{ name }}</h2>{{ pictures(saved) }}{% endfor %}"
        "<h2>rest</h2>{{ pictures(other_figures) }}{% endblock %}"
    )
    (package / "broken.html.j2").write_text('{% extends "base.html.j2" %}{% block half %}{{ missing }}{% endblock %}')
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    monkeypatch.delitem(__import__("sys").modules, "half", raising=False)


def test_the_skeleton_holds_verdict_notes_run_and_the_halfs_own_blocks():
    text = page()
    assert "Limbeck · toy" in text and "A &lt;title&gt;" in text and "verdict &lt; all" in text
    assert '<p class="warning">mind &amp; read</p>' in text and "1 min 01 s" in text
    assert '<td class="n">−0.500</td><td class="u">m</td>' in text


def test_bars_are_shown_with_their_direction_and_their_verdict():
    gates = [
        *(Gate("a", "error", 0.5, 1.0, "m"), Gate("b", "speed", 1.0, 2.0, "×", at_least=True)),
        *(Gate("c", "other", 3.0, None, ""), Gate("d", "lost", None, 1.0, "")),
    ]
    text = page(gates)
    assert re.findall(r'class="mark (\w+)"', text) == ["pass", "fail", "open", "fail"]
    assert "≤ 1" in text and "≥ 2" in text and "not measured" in text and 'class="verdict no"' in text
    assert 'class="verdict yes"' in page(gates[:1]) and 'class="verdict flat"' in page(gates[2:3])


def test_figures_stand_in_their_section_once_and_the_others_at_the_end(tmp_path):
    figures = []
    for name in ("one", "two", "three"):
        with canvas() as (figure, (axes,)):
            axes.plot([0, 1])
            figures.append(save(figure, tmp_path / "figures", name, name, f"Caption of {name}."))
    text = page(figures=figures, sections={"first": ("two", "absent")})
    order = [text.index(word) for word in ("<h2>first", 'id="two"', "<h2>rest", 'id="one"', 'id="three"')]
    assert order == sorted(order) and text.count("<img") == 3
    embedded = re.findall(r"data:image/svg\+xml;base64,([^\"]+)", text)
    assert base64.b64decode(embedded[0]) == figures[1].svg.read_bytes()


def test_a_word_that_nobody_gave_is_an_error_and_no_hole_in_the_page():
    with pytest.raises(UndefinedError, match="'missing' is undefined"):
        page(template="broken.html.j2")


@pytest.mark.parametrize(("value", "text"), [(None, "–"), (-0.25, "−0.250"), (0.25, "0.250")])
def test_signs_are_as_wide_as_digits(value, text):
    assert signed(value) == text
