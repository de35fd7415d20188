"""Frozen dataclasses that JSON objects hold."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, Self, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class JsonRecord:
    """The base of frozen dataclasses that a JSON object holds.

    A field is under its name, or under `metadata["key"]`. One whose default is None has no key while it is None.
    """

    def _has_key(self, name: str, default: Any) -> bool:
        return default is not None or getattr(self, name) is not None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values, in their order."""
        return {
            field.metadata.get("key", field.name): _to_json(getattr(self, field.name))
            for field in fields(self)
            if self._has_key(field.name, field.default)
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """Read what `to_json` gave; other keys are passed over, and absent ones have the fields' defaults.

        Raises:
            KeyError: a field without a default is absent.
            TypeError: a value is of another type.
            ValueError: a list is of another length.
        """
        values, types = {}, _types(cls)  # type: ignore[arg-type] # a class can be hashed
        for field in fields(cls):
            key = field.metadata.get("key", field.name)
            if key in record or field.default is MISSING:
                values[field.name] = _from_json(record[key], types[field.name])
        return cls(**values)


def describe_fault(error: Exception) -> str:
    """Say what is wrong with JSON values that were read in vain, as part of a message."""
    return f"no {error}" if isinstance(error, KeyError) else str(error)


@cache
def _types(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _to_json(value: Any) -> Any:
    if isinstance(value, JsonRecord):
        return value.to_json()
    if isinstance(value, Mapping):
        return {name: _to_json(member) for name, member in value.items()}
    return list(map(_to_json, value)) if isinstance(value, tuple | list) else value


def _from_json(value: Any, expected: Any) -> Any:
    """Return a JSON value as the type that a field is declared to have."""
    if type(value) is expected or expected is Any or (expected is float and type(value) is int):
        return value
    origin, inner = get_origin(expected), get_args(expected)
    if origin is UnionType:
        if value is None and NoneType in inner:
            return None
        *others, last = (one for one in inner if one is not NoneType)
        for one in others:
            with suppress(KeyError, TypeError, ValueError):
                return _from_json(value, one)
        return _from_json(value, last)
    if origin is tuple and isinstance(value, list):
        members = inner[:1] * len(value) if inner[-1] is ... else inner
        return tuple(_from_json(*pair) for pair in zip(value, members, strict=True))
    if isinstance(value, Mapping):
        if origin is Mapping:
            return {name: _from_json(member, inner[1]) for name, member in value.items()}
        if isinstance(expected, type) and issubclass(expected, JsonRecord):
            return expected.from_json(value)
    raise TypeError(f"{reprlib.repr(value)} instead of {getattr(expected, '__name__', expected)}")
