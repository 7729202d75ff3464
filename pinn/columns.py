"""Functions of any number of columns, called by names like the functions that a user writes out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any


class OfColumns:
    """A function of any number of columns, as one whose arguments have names.

    Args:
        names: of the arguments, in order.
        function: takes them by position.
    """

    def __init__(self, names: Sequence[str], function: Callable[..., Any]) -> None:
        self.function = function
        self.__signature__ = inspect.Signature(
            [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*self.__signature__.bind(*args, **kwargs).args)
