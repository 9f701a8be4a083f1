"""Hand-written files, from bytes to checked dataclasses.

The one home of pydantic for files: the dataclasses of `core.spec` are the schema, nothing is
listed twice. Each problem is a `SpecError`, which names the file, the key, what is wrong and what
to do.
"""

import dataclasses
import datetime
import difflib
import errno
import functools
import json
import os
import re
import stat
import tomllib
import types
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from orchestrator import locations
from orchestrator.errors import SpecError, UserError

Location = tuple[str | int, ...]
Problem = tuple[Location, str]
T = TypeVar("T")

# Bytes. A hand-written file is a few KiB; this is what is read of a hostile one.
FILE_MAX = 256 * 1024
# Bytes. Linux takes 128 KiB in one argument (MAX_ARG_STRLEN), its name and NUL included.
TEXT_MAX = 120_000
DEPTH_MAX = 16
PROBLEMS_MAX = 5

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_TOML_PLACE = re.compile(r"(?P<what>.*) \(at line (?P<line>\d+), column (?P<column>\d+)\)", re.S)


# -- bytes -> TOML -------------------------------------------------------------------------------


def shown(text: str) -> str:
    """`text` with what a terminal would act on, or not show, written as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def unreadable(path: Path, error: OSError) -> SpecError:
    """What is said of a file that could not be opened or looked at."""
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            problem = "there is no such file"
            if path.is_symlink():
                problem = "is a link to a file that is not there: remove it or mend it"
        case errno.EACCES | errno.EPERM:
            problem = "cannot be read: you have no permission: change its mode or its owner"
        case _:
            problem = f"cannot be read: {error.strerror}"
    return SpecError(shown(str(path)), None, problem)


def read_text(path: Path) -> str:
    """The whole of a regular file of UTF-8, within bounds."""

    def refuse(problem: str) -> NoReturn:
        raise SpecError(shown(str(path)), None, problem)

    try:
        # Non-blocking: opening a pipe that nobody writes to would wait for ever.
        with open(
            path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)
        ) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                refuse("is not a regular file")
            content = file.read(FILE_MAX + 1)
    except IsADirectoryError:
        refuse("is a directory: a file should stand there")
    except OSError as error:
        raise unreadable(path, error) from error
    if len(content) > FILE_MAX:
        refuse(f"is larger than {FILE_MAX // 1024} KiB: shorten it")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        refuse(f"is not UTF-8 text (byte {error.start}): save it as UTF-8")


def read_toml(path: Path) -> dict[str, Any]:
    """The table of a TOML file, free of what nothing here can use. Raises SpecError."""
    text = read_text(path)
    name = shown(str(path))
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise SpecError(name, None, "is nested too deeply") from None
    except ValueError as error:  # also what int() says to a number of thousands of digits
        place = _TOML_PLACE.fullmatch(str(error))
        if place is None:
            what = str(error).replace(" (at end of document)", ", at the end of the file")
            raise SpecError(name, None, f"is not TOML: {shown(what)}") from None
        where = f"line {place['line']}, column {place['column']}"
        raise SpecError(name, None, f"{where}: is not TOML: {shown(place['what'])}") from None
    raise_problems(path, _unusable(table))
    return table


def _unusable(table: Mapping[str, Any]) -> Iterator[Problem]:
    """What TOML allows and nothing here can use. Iterative: dotted keys nest without a bound."""
    left: list[tuple[Location, object]] = [((), table)]
    while left:
        at, item = left.pop()
        if isinstance(item, dict | list) and len(at) >= DEPTH_MAX:
            yield at[:2], f"is nested more than {DEPTH_MAX} levels deep"
        elif isinstance(item, dict):
            left.extend(((*at, key), inner) for key, inner in item.items())
        elif isinstance(item, list):
            left.extend(((*at, index), inner) for index, inner in enumerate(item))
        elif isinstance(item, int) and not -(2**63) <= item < 2**63:
            yield at, "is a number of more than 64 bits"
        elif isinstance(item, datetime.date | datetime.time):
            yield at, "is a date or time, which nothing here takes: put it in quotes"
        elif isinstance(item, str) and "\0" in item:
            yield at, "holds a NUL character, which no program can be given: remove it"
        elif isinstance(item, str) and len(item.encode()) > TEXT_MAX:
            yield at, f"is longer than {TEXT_MAX} bytes, more than a program can be given"


# -- TOML -> values of core.spec -----------------------------------------------------------------


def dotted(location: Location) -> str:
    """`agents[2].model`; a key that is not plain is quoted."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += "." if text else ""
            text += part if _BARE_KEY.fullmatch(part) else repr(part)
    return text


def raise_problems(file: Path, problems: Iterable[Problem], where: Location = ()) -> None:
    """Raise what there is, the first few at once; nothing if there is nothing."""
    name = shown(str(file))
    listed = [(dotted((*where, *at)), what) for at, what in problems]
    if not listed:
        return
    more = "".join(f"\n{name}: {key}: {what}" for key, what in listed[1:PROBLEMS_MAX])
    raise SpecError(name, listed[0][0] or None, listed[0][1] + more)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The known name that is nearest, as the end of a sentence; nothing if none is near."""
    near = difflib.get_close_matches(name, sorted(known))
    # Two letters swapped is the commonest slip: 'modle' is nearer to 'mode' by difflib's measure.
    near.sort(key=lambda each: sorted(each) != sorted(name))
    return f" (did you mean {near[0]!r}?)" if near else ""


def _inner(annotation: Any) -> Any:
    """The dataclass in `X`, `X | None` or `tuple[X, ...]`, if there is one."""
    if get_origin(annotation) in (Union, types.UnionType, tuple):
        return next((a for a in get_args(annotation) if dataclasses.is_dataclass(a)), None)
    return annotation if dataclasses.is_dataclass(annotation) else None


def _fill(
    cls: Any, table: Mapping[str, Any], at: Location, unknown: list[Problem]
) -> dict[str, Any]:
    """`table` with empty tables for what may be left out; what `cls` does not have is reported.

    A field that is a mapping, or a table whose own fields have defaults, may be left out in a
    file though the value in the core must be given.
    """
    hints = get_type_hints(cls)
    for key in table.keys() - hints.keys():
        known = ", ".join(hints)
        what = did_you_mean(key, hints) or f": known here are {known}"
        unknown.append(((*at, key), f"there is no such key{what}"))
    filled: dict[str, Any] = {}
    for field in dataclasses.fields(cls):
        inner = _inner(hints[field.name])
        required = field.default is field.default_factory is dataclasses.MISSING
        here = (*at, field.name)
        match table.get(field.name):
            case None:
                if required and inner is hints[field.name] is not None:
                    filled[field.name] = _fill(inner, {}, here, unknown)
                elif required and get_origin(hints[field.name]) is Mapping:
                    filled[field.name] = {}
            case dict() as below if inner:
                filled[field.name] = _fill(inner, below, here, unknown)
            case list() as items if inner:
                filled[field.name] = [
                    _fill(inner, item, (*here, index), unknown) if isinstance(item, dict) else item
                    for index, item in enumerate(items)
                ]
            case other:
                filled[field.name] = other
    return filled


_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "tuple_type": "a list",
    "dict_type": "a table",
    "mapping_type": "a table",
    "dataclass_type": "a table",
}


def _kind(item: object) -> str:
    match item:
        case str():
            return "text"
        case bool():
            return "true or false"
        case int():
            return "a number"
        case float():
            return "a number" if item.is_integer() else "a number with a fraction"
        case list():
            return "a list"
        case _:
            return "a table"


def _at(table: Any, location: Location) -> object:
    for part in location:
        table = table[part]
    return table


def _in_plain_words(error: Any, table: Mapping[str, Any]) -> Problem:
    at: Location = error["loc"]
    if error["type"] == "missing":
        return at, "is missing: add it"
    given = _at(table, at)
    if error["type"] == "literal_error":
        allowed = re.findall(r"'([^']*)'", error["ctx"]["expected"])
        hint = did_you_mean(given, allowed) if isinstance(given, str) else ""
        return at, f"should be one of {', '.join(map(repr, allowed))}{hint}"
    expected = _EXPECTED.get(error["type"])
    if expected is None:
        return at, error["msg"]
    remedy = ""
    if expected == "a list" and isinstance(given, str):
        remedy = f": write [{shown(_short(given))}]"
    elif expected == "text" and type(given) in (int, float):
        remedy = f': write "{given}"'
    return at, f"should be {expected}, not {_kind(given)}{remedy}"


def _short(text: str) -> str:
    """`text` in double quotes, cut if it is long."""
    return json.dumps(text if len(text) <= 40 else text[:40] + "…", ensure_ascii=False)


@functools.cache
def _adapter(cls: Any) -> TypeAdapter[Any]:
    return TypeAdapter(cls)


def checked(cls: type[T], table: Mapping[str, Any], file: Path, where: Location = ()) -> T:
    """A `cls` made of `table`, which stands at `where` in `file`."""
    schema: Any = cls  # to mypy a type variable's class cannot be hashed
    problems: list[Problem] = []
    filled = _fill(cls, table, (), problems)
    made: T | None = None
    try:
        # Through JSON, where strict means what it should: no text for a number, but a list for a
        # tuple and a table for a dataclass.
        made = _adapter(schema).validate_json(json.dumps(filled), strict=True)
    except ValidationError as error:
        problems += [_in_plain_words(one, filled) for one in error.errors(include_url=False)]
    raise_problems(file, sorted(problems, key=lambda problem: dotted(problem[0])), where)
    assert made is not None
    return made


# -- names and paths -----------------------------------------------------------------------------


def check_name(name: str, file: Path, at: Location, what: str) -> None:
    """`locations.check_name` for what stands at `at` in `file`. Raises SpecError."""
    try:
        locations.check_name(name, what)
    except UserError as error:
        raise SpecError(shown(str(file)), dotted(at), str(error)) from None


def as_text(path: Path, file: Path) -> str:
    """A path that JSON can hold."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        problem = f"the path {shown(str(path))} is not UTF-8: rename it"
        raise SpecError(shown(str(file)), None, problem) from None
    return str(path)
