"""Checking a composed configuration against its schema, and building objects from it by their dotted path."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError

from training.composition import compose, nearest
from training.errors import ConfigurationError

__all__ = ["compose", "instantiate", "plain", "validate"]

Schema = TypeVar("Schema", bound=BaseModel)


def plain(config: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as plain dictionaries and lists with all interpolations resolved.

    Raises:
        ConfigurationError: if an interpolation such as ``${seed}`` points to nothing, or a mandatory value is missing.
    """
    if not isinstance(config, DictConfig):
        return dict(config)
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        lines = "\n".join(f"  {key}: has no default; add {key}=… to the command" for key in missing)
        raise ConfigurationError(f"The configuration lacks {_values(len(missing))}:\n{lines}")
    try:
        container = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigurationError(f"The configuration cannot be resolved: {error}") from error
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def validate(config: DictConfig | Mapping[str, Any], schema: type[Schema]) -> Schema:
    """The configuration as settings of the declared types.

    Args:
        config: composed configuration, or plain dictionaries.
        schema: the settings class of the whole configuration.

    Raises:
        ConfigurationError: names every wrong value and every unknown key at once, with its dotted path; an unknown key
            names the nearest known one.
    """
    values = plain(config)
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        known = sorted(set(_schema_keys(schema, values)))
        complaints = [_complaint(entry, values, known) for entry in error.errors()]
    lines = "\n".join(f"  {line}" for line in dict.fromkeys(complaints))
    raise ConfigurationError(f"The configuration has {_values(len(complaints), 'problem')}:\n{lines}")


def instantiate(spec: Mapping[str, Any], allowed: Sequence[str], **extra: Any) -> Any:
    """Build the object that ``_target_`` names, from plain values.

    Args:
        spec: ``{"_target_": "torch.optim.AdamW", "lr": 1e-3}``, resolved and without OmegaConf containers.
        allowed: module prefixes the target may start with, such as ``"torch.optim."``.
        extra: further keyword arguments, passed as they are; for a ``_partial_`` target they are kept in the partial.

    Raises:
        ConfigurationError: if the target is missing, not allowed, does not exist, or refuses the arguments.
    """
    _check_targets(spec, allowed)
    from hydra.utils import instantiate as hydra_instantiate

    target = spec["_target_"]
    try:
        return hydra_instantiate({**spec, "_convert_": "all"}, **extra)
    except Exception as error:
        cause = error.__cause__ or error
        raise ConfigurationError(f"{target} could not be built from {_arguments(spec)}: {cause}") from error


def _check_targets(spec: Mapping[str, Any], allowed: Sequence[str], path: str = "") -> None:
    if not path and "_target_" not in spec:
        raise ConfigurationError(f"_target_ is missing from {dict(spec)}; it names the class, e.g. torch.optim.AdamW.")
    target = spec.get("_target_")
    if target is not None and not any(str(target).startswith(prefix) for prefix in allowed):
        raise ConfigurationError(
            f"_target_: {target}{path and f' (in {path})'} is not allowed here; it may start with {', '.join(allowed)}."
        )
    for key, value in spec.items():
        for inner in value if isinstance(value, list | tuple) else [value]:
            if isinstance(inner, Mapping):
                _check_targets(inner, allowed, path=str(key))


def _arguments(spec: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in spec.items() if key != "_target_") or "no arguments"


def _complaint(entry: Mapping[str, Any], values: Mapping[str, Any], known: Sequence[str]) -> str:
    path = _dotted(entry["loc"], values)
    kind = entry["type"]
    if kind == "extra_forbidden":
        parent = path.rpartition(".")[0]
        siblings = [key for key in known if key.rpartition(".")[0] == parent]
        close = nearest(path, siblings) or nearest(path, known)
        hint = f"did you mean {close}?" if close else f"known here: {', '.join(siblings) or 'nothing'}"
        return f"{path}: unknown key; {hint}"
    if kind == "missing":
        return f"{path}: has no default; add {path}=… to the command"
    message = entry["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    given = "" if isinstance(entry.get("input"), Mapping) else f" (got {entry.get('input')!r})"
    return f"{path or 'configuration'}: {message}{given}"


def _dotted(location: Sequence[int | str], values: Any) -> str:
    """The path without the names of union members and validators that pydantic puts into it."""
    parts: list[str] = []
    node = values
    for position, part in enumerate(location):
        try:
            node = node[part]
        except (KeyError, IndexError, TypeError):
            # the last part may be the very key that is missing
            if position < len(location) - 1 or not isinstance(node, Mapping):
                continue
        parts.append(str(part))
    return ".".join(parts)


def _schema_keys(annotation: Any, values: Any, prefix: str = "") -> Iterator[str]:
    """Dotted names of all fields of a settings class and of the classes inside it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            yield f"{prefix}{name}"
            inner = values.get(name) if isinstance(values, Mapping) else None
            yield from _schema_keys(field.annotation, inner, f"{prefix}{name}.")
        return
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType, typing.Annotated):
        for member in arguments:
            yield from _schema_keys(member, values, prefix)
    elif isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(values, Mapping):
        for key, inner in values.items():
            yield f"{prefix}{key}"
            yield from _schema_keys(arguments[1], inner, f"{prefix}{key}.")


def _values(count: int, noun: str = "value") -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")
