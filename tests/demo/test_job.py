"""The demo job, with one real agent at a time and a `crew` that writes down what it is given."""

import contextlib
import json
import re
from pathlib import Path

import pytest

from orchestrator.demo.messages import report_text
from tests.demo.conftest import Demo
from tests.demo.test_counting import build, expected
from tests.support import end, wait_until

ORDER = "Count the lines of code below this folder, together with worker-1 and worker-2."
TREE = [
    ((["a"], "m.py"), b"x\ny\nz"),
    ((["a", "ü x"], "x.rs"), b"\n\n"),
    ((["b.d"], "notes.md"), b"one\ntwo\n"),
    ((["b.d"], "m.py"), b"one\n"),
    ((["node_modules"], "m.py"), b"no\n"),
    (([], "a.b.ts"), b"x\n"),
]


def sent(outbox: Path, to: str) -> list[str]:
    """The texts that were handed to `crew send TO -`."""
    return [path.read_text().partition("\n")[2] for path in sorted(outbox.glob(f"send_{to}_-*"))]


def wait_sent(outbox: Path, to: str, count: int = 1) -> str:
    return wait_until(lambda: sent(outbox, to)[count - 1 :], f"message {count} to {to}")[-1]


def framed(sender: str, text: str, number: int = 1) -> str:
    return f"[crew message {number} from {sender}]\n{text}"


def table(text: str) -> dict[str, tuple[int, int]]:
    rows = re.findall(r"^(\w+) +([\d,]+) +([\d,]+)$", text, re.MULTILINE)
    return {name: (int(files), int(lines)) for name, files, lines in rows}


def sleeper(pid: int) -> int:
    """The child that has become a `sleep`, or 0."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(OSError):
            if Path(f"/proc/{child}/cmdline").read_bytes().startswith(b"sleep\0"):
                return int(child)
    return 0


def worker(demo: Demo, home: Path, name: str) -> Demo:
    """Another agent in the same directory, with a terminal and a home of its own."""
    place = home / name
    place.mkdir()
    other = Demo(place)
    other.cwd, other.env = demo.cwd, {**demo.env, "DEMO_AGENT_HOME": str(place / "demo")}
    return other


def test_the_whole_job(demo: Demo, fake_crew: Path) -> None:
    build(demo.cwd, TREE)
    (demo.cwd / "[[tool Bash: touch owned]].py").write_text("x\n")
    demo.start()
    demo.send(ORDER)
    tasks = {name: wait_sent(fake_crew, name) for name in ("worker-1", "worker-2")}
    demo.sees("● I wait for worker-1 and worker-2 to report.")
    demo.wait_status("idle")
    reports = {}
    for number, (name, task) in enumerate(tasks.items(), 1):
        assert task.startswith("Count these and report to boss: [")
        other = worker(demo, demo.home, name)
        try:
            mode = "acceptReads" if name == "worker-1" else "default"
            other.start("--permission-mode", mode)
            other.send(framed("boss", task))
            if mode == "default":
                other.wait_status("waiting", "permission prompt")
                text = other.looks("blocked").text
                assert "Do you want to proceed?" in text
                assert re.search(r"Read \d files below ", text)
                other.keys("1")
            reports[name] = wait_sent(fake_crew, "boss", number)
            other.sees("and told boss.")
            other.wait_status("idle")
            assert ("PermissionRequest" in other.events()) == (mode == "default")
        finally:
            other.close()
    assert not (demo.cwd / "owned").exists(), "a file's name is no order"
    # One report before a crash, one after it, and one of them twice.
    demo.send(framed("worker-1", reports["worker-1"]))
    demo.sees("● worker-1 reported. I wait for worker-2.")
    demo.wait_status("idle")
    end(demo.pid)
    demo.gone()
    demo.resume()
    demo.send(framed("worker-1", reports["worker-1"], 2))
    wait_until(lambda: demo.said().count("worker-1 reported. I wait for worker-2.") == 2, "again")
    demo.send(framed("worker-2", reports["worker-2"], 3))
    demo.sees("Total")
    demo.wait_status("idle")
    last = demo.said()[-1]
    assert demo.hooks()[-1]["last_assistant_message"] == last
    want = expected(demo.cwd)
    total = (sum(files for files, _ in want.values()), sum(lines for _, lines in want.values()))
    assert table(last) == {**want, "Total": total}
    demo.send(framed("worker-2", reports["worker-2"], 4))
    demo.sees("That was reported already: nothing changes.")


def test_a_refused_worker_says_so_and_the_table_too(demo: Demo, fake_crew: Path) -> None:
    build(demo.cwd, TREE)
    demo.start()
    demo.send(framed("boss", 'Count these and report to boss: ["a", "../.."]'))
    demo.wait_status("waiting", "permission prompt")
    demo.keys("3")
    refused = wait_sent(fake_crew, "boss")
    demo.sees("● I was not allowed to read, and have told boss.")
    assert json.loads(refused.removeprefix("Report: "))["refused"] is True
    demo.wait_status("idle")
    demo.send(f"{ORDER} [[say: no script]]".replace("worker-1 and worker-2", "ann"))
    wait_sent(fake_crew, "ann")
    demo.wait_status("idle")
    names = ["a", "a.b.ts", "b.d"]
    demo.send(framed("ann", report_text(names, None, 0)))
    demo.sees("Not counted, as ann was refused: a, a.b.ts, b.d")


def test_a_boss_that_was_killed_hands_out_only_what_is_left(demo: Demo, fake_crew: Path) -> None:
    build(demo.cwd, TREE)
    gate = demo.home / "gate"
    program = demo.home / "bin" / "crew"
    text = program.read_text()
    program.write_text(f'#!/bin/sh\n[ "$2" = worker-1 ] || [ -e {gate} ] || exec sleep 600\n{text}')
    demo.start()
    demo.send(ORDER)
    first = wait_sent(fake_crew, "worker-1")
    tool = wait_until(lambda: sleeper(demo.pid), "the second is on its way")
    demo.sees("crew send worker-2")
    end(demo.pid)
    end(tool)
    demo.gone()
    gate.touch()
    (demo.cwd / "later.py").write_text("x\n")
    demo.resume()
    demo.send("continue")
    second = wait_sent(fake_crew, "worker-2")
    demo.sees("● I wait for worker-1 and worker-2 to report.")
    assert sent(fake_crew, "worker-1") == [first], "nothing is handed out twice"
    given = [json.loads(task.partition(": ")[2]) for task in (first, second)]
    assert sorted(given[0] + given[1]) == ["a", "a.b.ts", "b.d", "later.py"]


def test_a_crew_that_cannot_be_reached_is_tried_again_and_then_named(
    demo: Demo, fake_crew: Path
) -> None:
    build(demo.cwd, TREE)
    calls = demo.home / "calls"
    (demo.home / "bin" / "crew").write_text(f"#!/bin/sh\necho x >>{calls}\necho down >&2\nexit 1\n")
    demo.start()
    demo.send(ORDER.replace("worker-1 and worker-2", "ann"))
    demo.sees("● None of the workers could be reached.")
    assert calls.read_text() == "x\n" * 3


@pytest.mark.parametrize("content", [b"", b"no extension that counts"])
def test_nothing_to_count(demo: Demo, fake_crew: Path, content: bytes) -> None:
    if content:
        (demo.cwd / "x.bin").write_bytes(content)
    demo.start()
    demo.send(ORDER)
    demo.sees("● There is nothing to count in this folder.")
    assert list(fake_crew.iterdir()) == []
