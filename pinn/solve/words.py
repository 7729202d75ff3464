"""Domain, conditions and reference of a problem as a reader says them: "x from −1 to 1", "u = 0, held exactly"."""

from __future__ import annotations

import ast
import inspect
import math
import re
import textwrap
from collections.abc import Callable, Mapping
from functools import singledispatch
from typing import Any

from pinn.conditions import Condition, Data, Initial, Neumann, Periodic, Robin
from pinn.conditions.boundary import BoundaryCondition
from pinn.geometry import Ball, Difference, Disk, Geometry, Intersection, Polygon, SpaceTime, Union
from pinn.references.reference import Reference

MANY = 3
"""More coordinates of the same range than this are named by the first and the last."""

_SIGNS = {r"\b(torch|math|np|self)\.": "", r"\bpi\b": "π", r" \*\* 2\b": "²", r" \*\* 3\b": "³", r" \* ": " ", "-": "−"}


@singledispatch
def domain_in_words(domain: Geometry) -> str:
    """Where the equations hold."""
    return ranges_in_words(domain.bounds)


@domain_in_words.register
def _(domain: SpaceTime) -> str:
    return f"{domain_in_words(domain.base)}; {ranges_in_words(domain.duration.bounds)}"


@domain_in_words.register
def _(domain: Ball) -> str:
    shape = "disk" if isinstance(domain, Disk) else "ball"
    return f"{shape} of radius {number(domain.radius)} around ({', '.join(map(number, domain.center))})"


@domain_in_words.register
def _(domain: Polygon) -> str:
    corners = ", ".join(f"({number(x)}, {number(y)})" for x, y in domain.vertices.tolist())
    return f"polygon with the corners {corners} in {', '.join(domain.coordinates)}"


@domain_in_words.register
def _(domain: Union) -> str:
    return f"{domain_in_words(domain.a)} together with {domain_in_words(domain.b)}"


@domain_in_words.register
def _(domain: Intersection) -> str:
    return f"what is common to {domain_in_words(domain.a)} and {domain_in_words(domain.b)}"


@domain_in_words.register
def _(domain: Difference) -> str:
    return f"{domain_in_words(domain.a)} without {domain_in_words(domain.b)}"


def ranges_in_words(bounds: Mapping[str, tuple[float, float]]) -> str:
    """From where to where every coordinate runs."""
    names, ranges = list(bounds), list(bounds.values())
    if len(names) > MANY and len(set(ranges)) == 1:
        return f"{names[0]} to {names[-1]}, each from {number(ranges[0][0])} to {number(ranges[0][1])}"
    return ", ".join(f"{name} from {number(low)} to {number(high)}" for name, (low, high) in bounds.items())


def condition_in_words(condition: Condition) -> str:
    """What a condition asks for, where, and whether it is built into the solution."""
    return f"{_asked(condition)}, {'held exactly' if condition.hard else 'learned'}"


@singledispatch
def _asked(condition: Condition) -> str:
    return _equalities(condition)


@_asked.register
def _(condition: BoundaryCondition) -> str:
    return f"{_equalities(condition)} {_place(condition)}"


@_asked.register
def _(condition: Neumann) -> str:
    return f"{_equalities(condition, '∂{}/∂n')} {_place(condition)}"


@_asked.register
def _(condition: Robin) -> str:
    left = f"{value_in_words(condition.alpha)} {{0}} + {value_in_words(condition.beta)} ∂{{0}}/∂n"
    return f"{_equalities(condition, left)} {_place(condition)}"


@_asked.register
def _(condition: Initial) -> str:
    return f"{_equalities(condition)} at the start"


@_asked.register
def _(condition: Periodic) -> str:
    order = "" if condition.hard else f" up to the derivative of order {condition.order}" if condition.order else ""
    return f"periodic in {condition.coordinate}{order}"


@_asked.register
def _(condition: Data) -> str:
    count = len(condition.points)
    return f"{count:,} given value{'s' if count > 1 else ''} of {', '.join(condition.fields)}"


def _equalities(condition: Condition, left: str = "{}") -> str:
    return ", ".join(f"{left.format(name)} = {value_in_words(value)}" for name, value in condition.values.items())


def _place(condition: BoundaryCondition) -> str:
    if condition.part is None:
        return "on the whole boundary"
    parts = [condition.part] if isinstance(condition.part, str) else condition.part
    return f"at {_minus(', '.join(parts))}"


def value_in_words(value: Any) -> str:
    """A number, or the formula of a function as its source or its documentation gives it; else its name."""
    if not callable(value):
        return number(float(value))
    if not inspect.isroutine(value):
        return "a given function"
    arguments = ", ".join(inspect.signature(value).parameters)
    return _lambda(value) or _documented(value) or f"{_in_signs(value.__name__)}({arguments})"


def _lambda(function: Callable[..., Any]) -> str:
    """The body of a lambda, in signs; empty for other functions and where the source does not say."""
    if getattr(function, "__name__", "") != "<lambda>":
        return ""
    try:
        source = textwrap.dedent(inspect.getsource(function)).strip().rstrip(",")
        tree = ast.parse(source)
    except (OSError, SyntaxError):
        # typed at a prompt, or a line that is only part of a statement
        return ""
    wanted = list(inspect.signature(function).parameters)
    bodies = {
        ast.unparse(node.body)
        for node in ast.walk(tree)
        if isinstance(node, ast.Lambda) and [argument.arg for argument in node.args.args] == wanted
    }
    # two lambdas of the same arguments on one line cannot be told apart
    return _in_signs(bodies.pop()) if len(bodies) == 1 else ""


def _documented(function: Callable[..., Any]) -> str:
    """A formula that begins the documentation of a function."""
    found = re.match(r"``(.+?)``", inspect.getdoc(function) or "")
    return found[1] if found else ""


def _in_signs(source: str) -> str:
    for pattern, sign in _SIGNS.items():
        source = re.sub(pattern, sign, source)
    return source


def reference_in_words(reference: Reference) -> str:
    """Where a reference comes from: the first sentence of its documentation."""
    words = " ".join((inspect.getdoc(type(reference)) or "").split("\n\n")[0].split()).replace("`", "").rstrip(".")
    name = type(reference).__name__
    return f"{name}: {words}" if words else name


def network_in_words(architecture: Mapping[str, Any]) -> dict[str, Any]:
    """What a reader wants to know of a network's architecture: its kind and what was chosen, not what followed."""
    told = {"network": str(architecture["_target_"]).rpartition(".")[2]}
    follows = ("_target_", "inputs", "outputs", "bounds", "seed")
    return told | {
        name: value for name, value in architecture.items() if name not in follows and value not in (None, 0)
    }


def number(value: float) -> str:
    """A number in text, with a minus sign as wide as a digit; halves of π as such."""
    halves = round(2 * value / math.pi)
    if halves and math.isclose(value, halves * math.pi / 2, rel_tol=1e-12):
        whole, rest = divmod(abs(halves), 2)
        count = abs(halves) if rest else whole
        return f"{'−' if value < 0 else ''}{'' if count == 1 else count}π{'/2' if rest else ''}"
    return _minus(f"{value:.6g}")


def _minus(text: str) -> str:
    return text.replace("-", "−")
