"""What a cache of answers is, whatever keeps it; and the one that keeps nothing."""

from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeVar

from orchestrator.core.breakers import Breaker
from orchestrator.core.oneshots import Answer
from orchestrator.core.values import value
from orchestrator.sinks.history import Asked, Known, Reason

T = TypeVar("T")

# Seconds that an entry may be ahead of the clock: two processes read it one after the other.
SKEW: Final = 60.0


@value
class Entry:
    """An answer and how it came about. `uses`, `used` and `size` are the cache's own figures:
    what is said of them to `keep` counts for nothing."""

    key: str
    answer: Answer
    question: str
    cli: str
    created: float
    ttl: float
    took: float
    uses: int = 0
    used: float = 0.0
    size: int = 0


@value
class Listed:
    """An entry without its answer; `question` is only how it begins."""

    key: str
    cli: str
    question: str
    created: float
    ttl: float
    uses: int
    used: float
    size: int


@value
class Stats:
    """What is in the cache, and what may be. `bytes` are those of questions and answers."""

    entries: int = 0
    bytes: int = 0
    oldest: float | None = None
    newest: float | None = None
    max_entries: int = 0
    max_bytes: int = 0


class Bounds(Protocol):
    """The settings that bound the cache."""

    @property
    def entries(self) -> int: ...
    @property
    def megabytes(self) -> int: ...


class Cache(Protocol):
    """What an ask and the verbs about asks use. Nothing here raises for trouble with the file."""

    warnings: list[str]

    def look(self, key: str) -> Entry | None:
        """The entry of any age; what is damaged or from the future is not used."""

    def keep(self, entry: Entry) -> None:
        """Put it in the place of an older one; what is over the bounds goes."""

    def note(self, asked: Asked) -> None:
        """Write down an ask, and count it as a use."""

    def why(self, key: str, coarse: str) -> Reason:
        """Why there is no fresh answer; to be asked before the ask itself is noted."""

    def fact(self, name: str, identity: str) -> str | None:
        """What was learned under `name`, if it was of the same `identity`."""

    def learn(self, name: str, identity: str, value: str) -> None: ...

    def breaker(self, cli: str) -> Breaker: ...

    def change_breaker(self, cli: str, change: Callable[[Breaker], tuple[T, Breaker]]) -> T:
        """Change the breaker with nobody between; the first of what `change` gives."""

    def stats(self) -> Stats: ...

    def listed(self, limit: int) -> list[Listed]:
        """The entries, most used first."""

    def find(self, start: str) -> list[str]:
        """The keys that begin so and have an entry."""

    def records(self) -> list[Asked]:
        """The newest asks, oldest first."""

    def most_asked(self, limit: int) -> list[Known]: ...

    def clear(self, keys: Sequence[str] | None = None, before: float | None = None) -> int:
        """Forget these answers, those from before a time, or all; how many there were."""

    def close(self) -> None: ...


def fresh(entry: Entry, now: float, ttl: float | None = None) -> bool:
    """Whether the entry may answer at `now`. `ttl`: seconds, over the entry's own."""
    return -SKEW <= now - entry.created < (entry.ttl if ttl is None else ttl)


class NullCache:
    """Remembers nothing but the breakers, and those as long as this process lives."""

    def __init__(self, warnings: Sequence[str] = ()) -> None:
        self.warnings = list(warnings)
        self._breakers: dict[str, Breaker] = {}

    def look(self, key: str) -> Entry | None:
        return None

    def keep(self, entry: Entry) -> None:
        pass

    def note(self, asked: Asked) -> None:
        pass

    def why(self, key: str, coarse: str) -> Reason:
        return "uncached"

    def fact(self, name: str, identity: str) -> str | None:
        return None

    def learn(self, name: str, identity: str, value: str) -> None:
        pass

    def breaker(self, cli: str) -> Breaker:
        return self._breakers.get(cli, Breaker())

    def change_breaker(self, cli: str, change: Callable[[Breaker], tuple[T, Breaker]]) -> T:
        result, self._breakers[cli] = change(self.breaker(cli))
        return result

    def stats(self) -> Stats:
        return Stats()

    def listed(self, limit: int) -> list[Listed]:
        return []

    def find(self, start: str) -> list[str]:
        return []

    def records(self) -> list[Asked]:
        return []

    def most_asked(self, limit: int) -> list[Known]:
        return []

    def clear(self, keys: Sequence[str] | None = None, before: float | None = None) -> int:
        return 0

    def close(self) -> None:
        pass
