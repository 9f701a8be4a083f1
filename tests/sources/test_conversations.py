"""Tokens of an agent's transcripts: each answer once, whoever reads, stops, dies or comes late."""

import datetime
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.events import TranscriptSeen
from orchestrator.core.tokens import NONE, Tokens
from orchestrator.core.usage import Usage, counted, taken_up
from orchestrator.sources import transcripts
from orchestrator.sources.conversations import Conversations

# Wall clock of the first line; each one is a second younger.
BEGAN = 1_795_000_000.0


def stamp(at: float) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat()


def prompt(text: str, at: float = BEGAN) -> bytes:
    message = {"role": "user", "content": text}
    entry = {"type": "user", "uuid": f"u-{text}-{at}", "timestamp": stamp(at), "message": message}
    return json.dumps(entry).encode() + b"\n"


def answer(
    message: str, output: int, at: float = BEGAN, *, model: str = "m", given: int = 0
) -> bytes:
    """A line of the answer `message`, with its tokens as they stand."""
    usage = {"input_tokens": given, "output_tokens": output}
    inner = {"id": message, "model": model, "usage": usage, "content": []}
    entry = {"type": "assistant", "uuid": f"a-{message}-{output}-{at}", "message": inner}
    return json.dumps({**entry, "timestamp": stamp(at)}).encode() + b"\n"


def append(path: Path, *lines: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(b"".join(lines))


def beside(main: Path, name: str = "agent-1") -> Path:
    return main.with_suffix("") / "subagents" / f"{name}.jsonl"


class Session:
    """What becomes of events: a world on disk, and a supervisor that dies without a word."""

    def __init__(self, *, since: float = 0.0) -> None:
        self.usage = Usage(since=since)
        self.events: list[TranscriptSeen] = []
        self.queued: list[TranscriptSeen] = []
        self.path: Path | None = None
        self.run = 1
        self.over = False
        self.supervisor = Conversations("w", "claude")

    def follow(self, path: Path, *, at: float | None = None) -> None:
        """The agent goes on in the conversation of `path`, taken up at time `at`."""
        self.path, self.over = path, False
        since = self.usage.since if at is None else at
        self.usage = taken_up(self.usage, str(path), since)
        self._point()

    def _point(self) -> None:
        if self.over:
            self.supervisor.end(self.run, self.path, self.usage)
        else:
            self.supervisor.follow(self.run, self.path, 0.0, self.usage)

    def read(self, *, steps: int = 10_000) -> None:
        """Look until there is no more, or so often."""
        more = True
        while more and steps:
            steps -= 1
            main, more_main = self.supervisor.read()
            others, more_others = self.supervisor.read_beside()
            self.queued += [*main, *others]
            more = more_main or more_others

    def commit(self, count: int = 10_000) -> None:
        """The oldest events are safe."""
        for event in self.queued[:count]:
            assert event.file is not None
            assert event.mark is not None
            self.usage = counted(self.usage, event.file, event.mark, event.tokens)
        self.events += self.queued[:count]
        del self.queued[:count]

    def kill(self) -> None:
        """Another supervisor takes over; what was not committed is lost."""
        self.queued.clear()
        self.supervisor = Conversations("w", "claude")
        self._point()

    def end(self) -> None:
        """The agent's process is gone."""
        self.over = True
        self.supervisor.end()

    def resume(self) -> None:
        self.run, self.over = self.run + 1, False
        self._point()

    @property
    def models(self) -> Mapping[str, Tokens]:
        return {m: tokens for m, tokens in self.usage.models.items() if tokens != NONE}

    @property
    def prompts(self) -> Sequence[str]:
        return [prompt for event in self.events for prompt in event.prompts]


@pytest.fixture
def session() -> Session:
    return Session()


@contextmanager
def chunks_of(size: int) -> Iterator[None]:
    """Reads of so many bytes at most."""
    before, transcripts.CHUNK = transcripts.CHUNK, size
    try:
        yield
    finally:
        transcripts.CHUNK = before


# -- any order of everything ----------------------------------------------------------------------

# An answer of one to three lines whose tokens grow, and its model; None: a prompt.
Line = tuple[list[int], str] | None
LINES = st.none() | st.tuples(
    st.lists(st.integers(1, 9), min_size=1, max_size=3), st.sampled_from("mn")
)
# Where it is written: the two conversations of the agent and a sub-agent of each.
FILES = st.integers(0, 3)
DEEDS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 700)),
        st.tuples(st.sampled_from(["read", "commit"]), st.sampled_from([1, 99])),
        st.tuples(st.sampled_from(["kill", "end", "resume", "turn"]), st.just(0)),
    ),
    max_size=40,
)


def written(contents: Sequence[tuple[int, Line]]) -> tuple[dict[int, bytes], dict[str, int]]:
    """The bytes of each file, and the tokens of output by model in all of them."""
    files: dict[int, bytes] = {}
    expected: dict[str, int] = {}
    at = BEGAN
    for number, (file, what) in enumerate(contents):
        at += 1.0
        if what is None:
            files[file] = files.get(file, b"") + prompt(f"p{number}", at)
            continue
        growth, model = what
        total = 0
        for more in growth:
            total += more
            line = answer(f"msg_{number}", total, at, model=model)
            files[file] = files.get(file, b"") + line
        expected[model] = expected.get(model, 0) + total
    return files, expected


@given(
    contents=st.lists(st.tuples(FILES, LINES), min_size=1, max_size=25),
    deeds=DEEDS,
    chunk=st.sampled_from([400, 1000, 4 * 1024 * 1024]),
)
def test_each_answer_counts_once_whatever_happens(
    contents: Sequence[tuple[int, Line]], deeds: Sequence[tuple[str, int]], chunk: int
) -> None:
    files, expected = written(contents)
    session = Session()
    with tempfile.TemporaryDirectory() as name, chunks_of(chunk):
        mains = Path(name) / "c1.jsonl", Path(name) / "c2.jsonl"
        paths = [*mains, beside(mains[0]), beside(mains[1])]
        session.follow(mains[0])
        for deed, number in deeds:
            match deed:
                case "write":
                    # Everywhere at once, up to the middle of a line.
                    for file, data in files.items():
                        append(paths[file], data[:number])
                        files[file] = data[number:]
                case "read":
                    session.read(steps=number)
                case "commit":
                    session.commit(number)
                case "kill":
                    session.kill()
                case "end":
                    session.end()
                case "resume":
                    session.resume()
                case "turn":
                    session.follow(mains[1] if session.path == mains[0] else mains[0])
        for file, data in files.items():
            append(paths[file], data)
        session.follow(mains[1])
        session.read()
        session.commit()
        session.end()
        session.read()
        session.commit()
    assert session.models == {model: Tokens(output=n) for model, n in expected.items()}


# -- one by one -----------------------------------------------------------------------------------


def test_an_answer_that_grows_while_nobody_watches(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    append(path, answer("one", 5, given=100))
    session.follow(path)
    session.read()
    session.commit()
    session.kill()
    append(path, answer("one", 9, given=100), answer("two", 1))
    session.read()
    session.commit()
    assert session.models == {"m": Tokens(input=100, output=10)}


def test_all_that_was_written_while_nobody_watched_counts(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    append(path, answer("first", 1))
    session.follow(path)
    session.read()
    session.commit()
    append(path, *(answer(f"m{n}", 1, BEGAN + n) + b"x" * 5000 + b"\n" for n in range(2000)))
    assert path.stat().st_size > 2 * transcripts.CHUNK
    session.kill()
    session.read()
    session.commit()
    assert session.models == {"m": Tokens(output=2001)}


def test_a_step_is_bounded(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    append(path, *(answer(f"m{n}", 1) for n in range(100)))
    session.follow(path)
    with chunks_of(2000):
        session.read(steps=1)
        session.commit()
        assert 0 < session.models["m"].output < 20
        session.read()
        session.commit()
    assert session.models["m"].output == 100


def test_a_process_that_is_gone_is_read_to_the_end(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    append(path, answer("one", 1), prompt("told"))
    session.follow(path)
    session.read()
    append(path, *(answer(f"m{n}", 1) for n in range(20)), prompt("its last"))
    append(beside(path), *(answer(f"s{n}", 1) for n in range(20)))
    session.end()
    with chunks_of(1000):
        session.read(steps=1)
    session.commit()
    assert session.models == {"m": Tokens(output=41)}
    assert session.prompts == ["told", "its last"]


def test_a_process_that_went_while_nobody_watched_tells_no_prompt(
    session: Session, tmp_path: Path
) -> None:
    path = tmp_path / "c.jsonl"
    session.follow(path)
    append(path, prompt("whose receipt came otherwise"), answer("one", 1))
    session.over = True
    session.kill()
    session.read()
    session.commit()
    assert session.models == {"m": Tokens(output=1)}
    assert session.prompts == []


def test_conversations_that_were_cleared_while_nobody_watched(
    session: Session, tmp_path: Path
) -> None:
    paths = [tmp_path / f"c{n}.jsonl" for n in range(4)]
    session.follow(paths[0])
    for n, path in enumerate(paths):
        append(path, answer(f"m{n}", 1), prompt(f"p{n}"))
        append(beside(path), answer(f"s{n}", 1))
    for path in paths[1:]:
        session.usage = taken_up(session.usage, str(path), 0.0)
    session.path = paths[-1]
    session.kill()
    session.read()
    session.commit()
    assert session.models == {"m": Tokens(output=8)}
    # Of those that were left behind only the tokens are news.
    assert session.prompts == ["p3"]


def test_what_is_late_in_a_conversation_left_behind_counts_at_the_end(
    session: Session, tmp_path: Path
) -> None:
    old, new = tmp_path / "old.jsonl", tmp_path / "new.jsonl"
    append(old, answer("one", 1))
    session.follow(old)
    session.read()
    session.follow(new)
    session.read()
    append(old, answer("two", 1))
    append(beside(old), answer("three", 1))
    session.end()
    session.read()
    session.commit()
    assert session.models == {"m": Tokens(output=3)}


def test_a_branch_begins_with_a_copy_that_counts_nothing(session: Session, tmp_path: Path) -> None:
    old, new = tmp_path / "old.jsonl", tmp_path / "new.jsonl"
    past = answer("one", 5, BEGAN) + answer("two", 5, BEGAN + 1)
    append(old, past)
    session.follow(old)
    session.read()
    append(new, past)
    append(beside(new), answer("sub", 5, BEGAN + 1))
    session.follow(new, at=BEGAN + 2)
    session.read()
    append(new, answer("three", 2, BEGAN + 3))
    append(beside(new), answer("four", 2, BEGAN + 3))
    session.read()
    # A clock that is set back later is no reason to lose anything.
    append(new, answer("five", 2, BEGAN - 1000))
    session.read()
    session.commit()
    assert session.models == {"m": Tokens(output=16)}


def test_a_conversation_from_before_the_agent_is_not_its_own(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    append(path, answer("old", 5, BEGAN - 1))
    session = Session(since=BEGAN)
    session.follow(path)
    append(path, answer("new", 2, BEGAN + 1))
    session.read()
    session.commit()
    assert session.models == {"m": Tokens(output=2)}


def test_two_names_of_one_file_count_once(session: Session, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    named, real = tmp_path / "link/c.jsonl", tmp_path / "real/c.jsonl"
    append(real, answer("one", 1))
    session.follow(named)
    session.read()
    session.commit()
    append(real, *(answer(f"m{n}", 1) for n in range(20)))
    session.follow(real)
    with chunks_of(1000):
        session.read()
    session.commit()
    session.kill()
    session.read()
    session.end()
    session.read()
    session.commit()
    assert session.models == {"m": Tokens(output=21)}


def test_synthetic_answers_and_half_lines_count_nothing(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    append(path, answer("one", 7, model="<synthetic>"), answer("two", 1)[:-20])
    session.follow(path)
    session.read()
    session.commit()
    assert session.models == {}


def test_an_answer_that_is_told_with_less_takes_nothing_away(
    session: Session, tmp_path: Path
) -> None:
    path = tmp_path / "c.jsonl"
    append(path, answer("one", 5, given=7), answer("one", 3), answer("one", 6))
    session.follow(path)
    session.read()
    session.commit()
    assert session.models == {"m": Tokens(input=7, output=6)}


def test_a_line_longer_than_a_read_is_none_for_the_next_supervisor_either(
    session: Session, tmp_path: Path
) -> None:
    path = tmp_path / "c.jsonl"
    append(path, answer("one", 1), b"x" * 3000, answer("in it", 1), answer("two", 1))
    session.follow(path)
    with chunks_of(1000):
        session.read(steps=3)
        session.commit()
        session.kill()
        session.read()
        session.commit()
    assert session.models == {"m": Tokens(output=2)}


def cut(path: Path, data: bytes) -> None:
    """Shorter than it was counted, and written on."""
    os.truncate(path, len(data) // 2)


def replace(path: Path, data: bytes) -> None:
    """By a file of the same lines, and other bytes before them."""
    path.unlink()
    append(path, b'{"type": "summary"}\n' + data)


def rotate(path: Path, data: bytes) -> None:
    """By a new file with the last lines of the old one."""
    path.unlink()
    append(path, data[data.rindex(b"\n", 0, len(data) * 2 // 3) + 1 :])


@pytest.mark.parametrize("way", [cut, replace, rotate])
@pytest.mark.parametrize("watched", [True, False])
def test_another_file_of_that_name_is_read_again_and_counts_what_is_new(
    session: Session, tmp_path: Path, way: object, watched: bool
) -> None:
    path = tmp_path / "c.jsonl"
    data = b"".join(answer(f"m{n}", 1, BEGAN + n) for n in range(30))
    append(path, data)
    session.follow(path)
    session.read()
    session.commit()
    assert callable(way)
    if not watched:
        session.kill()
    way(path, data)
    with chunks_of(1000):
        session.read(steps=1)
    session.commit()
    append(path, *(answer(f"n{n}", 1, BEGAN + 100 + n) for n in range(5)))
    session.kill()
    session.read()
    session.commit()
    assert session.models == {"m": Tokens(output=35)}
    # And from there on as ever.
    append(path, answer("last", 1, BEGAN + 200))
    session.kill()
    session.read()
    session.commit()
    assert session.models == {"m": Tokens(output=36)}


def test_another_file_is_told_by_what_stands_before_the_mark(
    session: Session, tmp_path: Path
) -> None:
    path = tmp_path / "c.jsonl"
    append(path, *(answer(f"m{n}", 1, BEGAN + n) for n in range(30)))
    session.follow(path)
    session.read()
    session.commit()
    session.kill()
    size = path.stat().st_size
    path.unlink()
    append(path, answer("new", 1, BEGAN + 100), b"x" * size + b"\n")
    session.read()
    session.commit()
    assert session.models == {"m": Tokens(output=31)}


def test_a_file_whose_mark_is_no_longer_kept_counts_once(session: Session, tmp_path: Path) -> None:
    main = tmp_path / "c.jsonl"
    session.follow(main)
    for n in range(300):
        append(beside(main, f"agent-{n:03}"), answer(f"m{n}", 1, BEGAN + n))
    session.read()
    session.commit()
    assert len(session.usage.marks) < 300
    session.kill()
    append(beside(main, "agent-new"), answer("new", 1, BEGAN + 1000))
    session.read()
    session.commit()
    assert session.models == {"m": Tokens(output=301)}
