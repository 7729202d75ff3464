"""Names instead of numbers: calling a function by the names of its arguments, and answers when a name is not known."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from training.errors import ConfigurationError

_FEW = 12


def hint(name: str, known: Iterable[str]) -> str:
    """What to say about an unknown name: the nearest known one, and all of them where they are few.

    >>> hint("viscosty", ["viscosity", "density"])
    'did you mean viscosity? Known here: viscosity, density.'
    """
    known = list(dict.fromkeys(known))
    by_small_letters = {word.lower(): word for word in reversed(known)}
    matches = difflib.get_close_matches(name.lower(), list(by_small_letters), n=1, cutoff=0.6)
    close = [by_small_letters[word] for word in matches]
    all_of_them = f"Known here: {', '.join(known) or 'nothing'}." if len(known) <= _FEW else ""
    return f"did you mean {close[0]}? {all_of_them}".rstrip() if close else all_of_them or f"{len(known)} are known."


def argument_names(function: Callable[..., Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names a function asks for: those it needs, and those it has defaults for.

    Raises:
        ConfigurationError: if it takes arguments that have no name (``*args``, positional-only) or any name.
    """
    needed: list[str] = []
    optional: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ConfigurationError(
                f"{described(function)} takes {parameter}; its arguments are matched by name: write them out."
            )
        (needed if parameter.default is parameter.empty else optional).append(parameter.name)
    return tuple(needed), tuple(optional)


def call_by_name(function: Callable[..., Any], values: Mapping[str, Any]) -> Any:
    """Call a function with those of the values that its arguments name.

    Args:
        function: for example ``lambda x, t: torch.sin(x) * t``.
        values: everything that has a name: coordinates, fields, parameters.

    Raises:
        ConfigurationError: if an argument names something unknown; names the nearest known one.
    """
    needed, optional = argument_names(function)
    unknown = [name for name in needed if name not in values]
    if unknown:
        wrong = " ".join(f"there is no {name!r}; {hint(name, values)}" for name in unknown)
        raise ConfigurationError(f"{described(function)} asks for names that do not exist: {wrong}")
    return function(**{name: values[name] for name in (*needed, *optional) if name in values})


def described(function: Callable[..., Any]) -> str:
    """A function's name and arguments, as a user would recognise them."""
    name = getattr(function, "__qualname__", type(function).__name__).replace("<locals>.", "")
    return f"{name}{inspect.signature(function)}"
