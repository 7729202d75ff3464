"""``report.html``: the page both halves fill; one file that opens offline."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from training.progress import duration
from training.report.gates import Gate, all_passed, figure
from training.report.style import SavedFigure

FILE_NAME = "report.html"


def render_page(
    package: str,
    template: str,
    gates: Sequence[Gate],
    verdict: str,
    figures: Sequence[SavedFigure],
    sections: Mapping[str, Sequence[str]],
    facts: Any,
    **words: Any,
) -> str:
    """The page as text.

    Everything is inside it: styles inline, figures as data, no script, nothing fetched from anywhere. The half's
    template extends ``base.html.j2`` and fills its blocks ``half`` (what was made, in a few words) and ``content``;
    verdict, bars and the account of the run stand in the base. What users typed is escaped.

    Args:
        package, template: where the half's template lies.
        gates: as judged; the verdict stands first.
        verdict: the gates in words.
        figures: the SVG files are embedded.
        sections: names of figures by section of the template; a figure in none of them goes to ``other_figures``.
        facts: has ``title``, ``notes``, ``command``, ``phases``, ``seeds``, ``environment`` and ``files`` for the base.
        **words: what else the template names.
    """
    homes = (package, "training.report")
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(home, package_path="") for home in homes]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"figure": signed, "duration": duration, "data_uri": data_uri, "count": lambda n: f"{n:,}"}
    placed = {name for names in sections.values() for name in names}
    by_name = {saved.name: saved for saved in figures}
    return environment.get_template(template).render(
        facts=facts,
        gates=gates,
        passed=all_passed(gates),
        judged=any(gate.passed is not None for gate in gates),
        verdict=verdict,
        sections={section: [by_name[name] for name in names if name in by_name] for section, names in sections.items()},
        other_figures=[saved for saved in figures if saved.name not in placed],
        **words,
    )


def signed(value: float | None) -> str:
    """A number for a table, with a minus sign as wide as a digit; a dash where there is none."""
    return "–" if value is None else f"−{figure(-value)}" if value < 0 else figure(value)


def data_uri(saved: SavedFigure) -> str:
    """The figure's SVG file as the address of an image."""
    return f"data:image/svg+xml;base64,{base64.b64encode(saved.svg.read_bytes()).decode()}"
