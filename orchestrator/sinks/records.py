"""Events and worlds as JSON text, and back: the same value, whatever it holds."""

import json
import zlib
from typing import Annotated, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from orchestrator.core.events import AnyEvent
from orchestrator.core.state import World

T = TypeVar("T")

_EVENT: TypeAdapter[AnyEvent] = TypeAdapter(
    Annotated[AnyEvent, Field(discriminator="kind")],
    config=ConfigDict(ser_json_inf_nan="constants"),
)
_WORLD: TypeAdapter[World] = TypeAdapter(World)


def dump_event(event: AnyEvent) -> str:
    return _dump(_EVENT, event)


def load_event(text: str) -> AnyEvent:
    """Raises ValueError if `text` is no event of this version."""
    return _load(_EVENT, text)


def dump_world(world: World) -> str:
    return _dump(_WORLD, world)


def load_world(text: str) -> World:
    """Raises ValueError if `text` is no world of this version."""
    return _load(_WORLD, text)


def crc(body: str) -> int:
    """The checksum that is stored beside a body."""
    return zlib.crc32(body.encode())


def plain(text: str) -> str:
    """`text` as SQLite can hold it: half a surrogate pair becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


# A file name that is not UTF-8 reaches Python with lone surrogates in it, which pydantic's fast
# JSON neither writes nor reads. The standard library's does, as escapes.


def _dump(adapter: TypeAdapter[T], value: T) -> str:
    try:
        return adapter.dump_json(value).decode()
    except PydanticSerializationError:
        return json.dumps(adapter.dump_python(value, mode="json"))


def _load(adapter: TypeAdapter[T], text: str) -> T:
    try:
        return adapter.validate_json(text)
    except ValidationError:
        return adapter.validate_python(json.loads(text))
