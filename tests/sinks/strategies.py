"""Random values of any declared kind, with every field drawn, defaults too."""

import functools
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from orchestrator.core.events import AnyEvent
from orchestrator.core.state import World

EVENT_KINDS: tuple[type[Any], ...] = get_args(AnyEvent)

# Worlds are large: one draw for each small value keeps them cheap, so what is nasty is listed.
_KEYS = st.sampled_from(["", "a", "worker-1", "é\u2028😀", '"\\', "\0", "{}"])
# A lone surrogate is what a file name that is not UTF-8 turns into.
_TEXT = st.sampled_from(["", "a", "worker-1", "é\u2028😀", '"\\\n', "\0", "\udc80", "1", "null"])
_SCALARS: dict[object, st.SearchStrategy[Any]] = {
    str: _TEXT,
    int: st.sampled_from([0, 1, -1, 2**31, 2**53 + 1, 2**63 - 1]),
    float: st.sampled_from([0.0, 1.0, 0.1, -1.5, 1e300, 5e-324, 1763682000.123456, 2.0**53 + 2]),
    bool: st.booleans(),
    type(None): st.none(),
    # What a CLI is handed on as it stands: JSON.
    Any: st.sampled_from(["", 1, 0.5, True, None, [], {"a": [{"b": None}]}]),
}


def of(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a type as the core's modules write them."""
    return _made(kind)


@functools.cache
def _made(kind: Any) -> st.SearchStrategy[Any]:
    if kind in _SCALARS:
        return _SCALARS[kind]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (Union, types.UnionType):
        return st.one_of([of(each) for each in arguments])
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return st.lists(of(arguments[0]), max_size=2).map(tuple)
        return st.tuples(*map(of, arguments))
    if origin is frozenset:
        return st.frozensets(of(arguments[0]), max_size=3)
    if origin is Mapping:
        keys = _KEYS if arguments[0] is str else of(arguments[0])
        return st.dictionaries(keys, of(arguments[1]), max_size=2)
    if is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        return st.builds(kind, **{field.name: of(hints[field.name]) for field in fields(kind)})
    if isinstance(kind, type) and issubclass(kind, Enum):
        return st.sampled_from(kind)
    raise TypeError(f"no strategy for {kind}")


WORLDS: st.SearchStrategy[World] = of(World)
EVENTS: st.SearchStrategy[AnyEvent] = st.one_of([of(kind) for kind in EVENT_KINDS])
