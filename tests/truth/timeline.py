"""What was shown, compared with what was true. Pure; all times are `time.monotonic`.

A step of the truth has two times. `cause` is what it follows from: a key is pressed, the last byte
of an answer goes out, a tool ends. `at` is when the CLI itself has shown it: it has written its
status file, its next request has come, its tool runs, its dialog is drawn, its process is dead.
In between the old and the new are both right, as both are in the CLI; and the old one is for
`GRACE` after that, for what has to travel. Nothing else is right at any time. How much would be
right without that grace is told beside it, and how late each step was shown is counted from `at`.

A step is missed if it was never shown, in its order and after its cause; what was shown and is no
step is extra, however short it was. An optional step may be shown or not: it lasts as long as the
CLI needs to get from one thing to the next.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

# Seconds for which the state before a step is still right after the CLI has shown the step.
GRACE = 0.1
# Seconds by which what follows may seem to be before what it follows from: two programs read the
# clock, or a file's time is that of the kernel's last tick.
EPSILON, TICK = 0.005, 0.02
# Statuses in which a turn goes on.
TURN = frozenset({"working", "blocked", "limited"})


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that is true: any of `labels` says it.

    `says` must be told with it, and it is by one of `sources` that it is known (none: by any).
    """

    labels: tuple[str, ...]
    cause: float
    at: float
    says: str = ""
    sources: frozenset[str] = frozenset()
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Evidence:
    """What `crew why` said while `label` was shown."""

    label: str
    kind: str
    source: str
    at: float


@dataclass(frozen=True, slots=True)
class Shown:
    """What a subscriber was told, from `at` on."""

    at: float
    label: str
    detail: str = ""
    evidence: Evidence | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """`missed`, `extra` and `unproved` are told in words; times in seconds."""

    missed: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    false_ready: tuple[str, ...] = ()
    unproved: tuple[str, ...] = ()
    late: tuple[float, ...] = ()
    right: float = 0.0
    strict: float = 0.0
    total: float = 0.0
    steps: int = 0

    def __add__(self, other: "Verdict") -> "Verdict":
        return Verdict(
            self.missed + other.missed,
            self.extra + other.extra,
            self.false_ready + other.false_ready,
            self.unproved + other.unproved,
            self.late + other.late,
            self.right + other.right,
            self.strict + other.strict,
            self.total + other.total,
            self.steps + other.steps,
        )

    @property
    def share(self) -> float:
        """Of the time, that in which what was shown was right, in percent."""
        return 100 * self.right / self.total if self.total else 100.0

    @property
    def strict_share(self) -> float:
        """The same without the grace."""
        return 100 * self.strict / self.total if self.total else 100.0

    @property
    def is_true(self) -> bool:
        """Whether nothing was missed, nothing shown that was not, and all of it with evidence."""
        return not (self.missed or self.extra or self.false_ready or self.unproved)


@dataclass(slots=True)
class Group:
    """A label for as long as it was shown."""

    label: str
    start: float
    end: float
    details: list[str] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)


def compare(steps: Sequence[Step], shown: Sequence[Shown], end: float) -> Verdict:
    """Judge what was shown from the first step's `at` until `end`."""
    start = steps[0].at
    groups = _groups(shown, start, end)
    pairs = _pairs(steps, groups)
    missed, unproved, late = [], [], []
    for number, step in enumerate(steps):
        place = pairs.get(number)
        if place is None:
            if not step.optional:
                missed.append(f"{step.labels[0]} from {step.at - start:.2f} s")
            continue
        group = groups[place]
        if step.says and not any(step.says in detail for detail in group.details):
            missed.append(f"{group.label} with {step.says!r}, told was {group.details}")
        if number and not step.optional:
            late.append(max(0.0, group.start - step.at))
            unproved += _unproved(step, group, _until(steps, number))
    taken = set(pairs.values())
    return Verdict(
        missed=tuple(missed),
        extra=tuple(_told(g, start) for n, g in enumerate(groups) if n not in taken),
        false_ready=tuple(_told(g, start) for g in groups if _is_false_ready(steps, g)),
        unproved=tuple(unproved),
        late=tuple(late),
        right=_right(steps, groups, start, end, GRACE),
        strict=_right(steps, groups, start, end, 0.0),
        total=end - start,
        steps=sum(not step.optional for step in steps),
    )


def _told(group: Group, start: float) -> str:
    where = f"{group.start - start:.2f} to {group.end - start:.2f} s"
    return f"{group.label} ({group.details[-1]}) from {where}"


def _groups(shown: Sequence[Shown], start: float, end: float) -> list[Group]:
    """What was shown between the two times, each label once for as long as it stood."""
    groups: list[Group] = []
    for number, each in enumerate(shown):
        until = shown[number + 1].at if number + 1 < len(shown) else end
        if until <= start or each.at >= end:
            continue
        if not groups or groups[-1].label != each.label:
            groups.append(Group(each.label, max(start, each.at), until))
        group = groups[-1]
        group.end = min(until, end)
        group.details.append(each.detail)
        if each.evidence is not None:
            group.evidence.append(each.evidence)
    return groups


def _fits(step: Step, group: Group) -> bool:
    return group.label in step.labels and group.start >= step.cause - EPSILON


def _pairs(steps: Sequence[Step], groups: Sequence[Group]) -> dict[int, int]:
    """Which step each group is, both in their order: with the fewest left over, then the
    earliest."""
    # (left over, seconds late, pairs) of the steps from n and the groups from m on.
    Best = tuple[int, float, tuple[tuple[int, int], ...]]
    best: dict[tuple[int, int], Best] = {}
    for n in range(len(steps), -1, -1):
        for m in range(len(groups), -1, -1):
            choices: list[Best] = []
            if n == len(steps) and m == len(groups):
                choices.append((0, 0.0, ()))
            if n < len(steps):
                left, late, pairs = best[n + 1, m]
                choices.append((left + (not steps[n].optional), late, pairs))
            if m < len(groups):
                left, late, pairs = best[n, m + 1]
                choices.append((left + 1, late, pairs))
            if n < len(steps) and m < len(groups) and _fits(steps[n], groups[m]):
                left, late, pairs = best[n + 1, m + 1]
                later = late + abs(groups[m].start - steps[n].at)
                choices.append((left, later, ((n, m), *pairs)))
            best[n, m] = min(choices, key=lambda choice: choice[:2])
    return dict(best[0, 0][2])


def _until(steps: Sequence[Step], number: int) -> float:
    """When the CLI has shown that a step is over."""
    after = (step.at for step in steps[number + 1 :] if not step.optional)
    return next(after, float("inf"))


def _spans(steps: Sequence[Step], grace: float) -> Iterator[tuple[float, float, Step]]:
    """From when until when each step is right."""
    for number, step in enumerate(steps):
        yield step.cause, _until(steps, number) + grace, step


def _right(
    steps: Sequence[Step], groups: Sequence[Group], start: float, end: float, grace: float
) -> float:
    """The seconds in which what was shown was right."""
    spans = list(_spans(steps, grace))
    cuts = {start, end}
    for begins, ends, _ in spans:
        cuts |= {min(max(begins, start), end), min(max(ends, start), end)}
    for group in groups:
        cuts |= {group.start, group.end}
    right = 0.0
    for begins, ends in pairwise(sorted(cuts)):
        at = (begins + ends) / 2
        label = next((g.label for g in groups if g.start <= at < g.end), None)
        if any(a <= at <= b and label in step.labels for a, b, step in spans):
            right += ends - begins
    return right


def _is_false_ready(steps: Sequence[Step], group: Group) -> bool:
    """Whether it says, from when it was told on, that a turn is over that goes on."""
    if _status(group.label) != "ready":
        return False
    right = [step for a, b, step in _spans(steps, GRACE) if a - EPSILON <= group.start <= b]
    truth = [step for step in steps if not step.optional and step.at <= group.start]
    in_turn = bool(truth) and _status(truth[-1].labels[0]) in TURN
    return in_turn and not any(_status(label) == "ready" for step in right for label in step.labels)


def _status(label: str) -> str:
    return label.partition("/")[0].partition("+")[0]


def _unproved(step: Step, group: Group, until: float) -> list[str]:
    """What is wrong with the evidence that was named while the step was shown."""
    named = [each for each in group.evidence if each.label == group.label]
    good = (
        each
        for each in named
        if each.kind
        and (not step.sources or each.source in step.sources)
        and step.cause - TICK <= each.at <= until + GRACE
    )
    if any(good):
        return []
    told = [f"{e.kind} by {e.source}, {e.at - step.at:+.2f} s" for e in named]
    return [f"{group.label}: {told or 'nothing was asked in time'}"]
