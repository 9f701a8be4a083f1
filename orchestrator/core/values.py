"""`@value`: the one way a piece of the core is declared: frozen, slotted, by keyword.

Values are made, compared and replaced (`dataclasses.replace`), never changed. Mappings inside
them are ordinary dicts that nobody writes to after the value is made.
"""

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def value(cls: type[T]) -> type[T]:
    """Make `cls` a frozen, slotted dataclass whose fields are given by keyword."""
    return dataclass(frozen=True, slots=True, kw_only=True)(cls)
