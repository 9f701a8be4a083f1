"""A team from launch to its end: up, look, answer, attach, down, restore."""

import contextlib
import os
import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.end_to_end import faults
from tests.end_to_end.conftest import CREW, Crew
from tests.support import wait_until

WORDS = ("alpha", "beta", "gamma")


def random_tree(root: Path, seed: int) -> Counter[str]:
    """Write source files into `root`; returns lines by extension, counted as they are written."""
    rng = random.Random(seed)
    lines: Counter[str] = Counter()
    for folder in ("one", "one/deep", "two", "three/x/y", ".hidden", "node_modules/z"):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(rng.randint(1, 4)):
            ending = rng.choice(["py", "rs", "js", "md", "unknown"])
            count = rng.randint(0, 40)
            text = "".join(f"{rng.choice(WORDS)}\n" for _ in range(count))
            if rng.random() < 0.3 and count:
                text = text.rstrip("\n")
            (root / folder / f"f{number}.{ending}").write_text(text)
            if not folder.startswith((".", "node_modules")) and ending != "unknown":
                lines[ending] += 0
    for path in root.rglob("*"):
        relative = path.relative_to(root).parts
        if (
            path.is_file()
            and path.suffix[1:] in lines
            and not any(part.startswith(".") or part == "node_modules" for part in relative[:-1])
        ):
            lines[path.suffix[1:]] += len(path.read_text().splitlines())
    return +lines


@pytest.mark.parametrize("seed", [1])
def test_the_demo_team_counts_what_is_there(crew: Crew, seed: int) -> None:
    expected = random_tree(crew.cwd, seed)
    crew.env["DEMO_AGENT_PACE"] = "0.2"
    out = crew.run("up").stdout
    assert "crew status" in out
    view = crew.wait(
        lambda v: any(
            a["name"] == "worker-2" and a["ask"] and a["ask"]["options"] and a["ask"]["hook"]
            for a in v["agents"]
        ),
        "worker-2 asks",
    )
    asked = next(a for a in view["agents"] if a["name"] == "worker-2")["ask"]
    assert asked["kind"] == "permission"
    assert [o["label"] for o in asked["options"]][:1] == ["Yes"]
    text = crew.run("status").stdout
    assert "blocked" in text
    assert " · 1 needs you · " in text
    assert f"worker-2 asks to Read {crew.cwd}" in text
    assert "crew answer worker-2" in text
    assert crew.run("answer", "worker-2", "Y").stdout == "answered worker-2: Yes\n"

    def table(logs: str) -> dict[str, int]:
        rows = re.findall(r"^\s*(\w[\w+# ]*?)\s+(\d+)\s+([\d,]+)\s*$", logs, re.MULTILINE)
        return {name.lower(): int(lines.replace(",", "")) for name, _, lines in rows}

    names = {"py": "python", "rs": "rust", "js": "javascript", "md": "markdown"}
    wanted = {names[ending]: count for ending, count in expected.items()}

    def there() -> bool:
        found = table(crew.run("logs", "boss").stdout)
        return "total" in found and all(found.get(n) == c for n, c in wanted.items())

    try:
        wait_until(there, f"the table {wanted}", 60)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{crew.run('logs', 'boss').stdout}") from None
    assert table(crew.run("logs", "boss").stdout)["total"] == sum(expected.values())
    crew.wait_status(boss="ready", worker_1="ready", worker_2="ready")
    kinds = [e["kind"] for e in crew.events()]
    assert kinds.count("answer_given") == 1
    assert crew.view()["missed_events"] == 0


TWO = """
[[agents]]
name = "a"

[[agents]]
name = "b"
depends_on = ["a"]
"""


def test_up_is_idempotent_and_says_which(crew: Crew) -> None:
    crew.blueprint(TWO)
    crew.up("--wait")
    pids = {a["name"]: a["pid"] for a in crew.view()["agents"]}
    crew.run("stop", "b")
    crew.wait_status(b="stopped")
    out = crew.up("--wait").stdout
    assert "b" in out
    after = {a["name"]: a["pid"] for a in crew.view()["agents"]}
    assert after["a"] == pids["a"]
    assert after["b"] not in (None, pids["b"])


def test_an_edited_blueprint_is_noticed_and_applied_by_the_next_up(crew: Crew) -> None:
    crew.blueprint(TWO)
    crew.up("--wait")
    before = {a["name"]: a["pid"] for a in crew.view()["agents"]}
    crew.blueprint(TWO + 'model = "other"\n')
    crew.wait(lambda v: v["edited"], "the edit is noticed")
    assert "edited" in crew.run("status").stdout
    crew.up("--wait")
    crew.wait(lambda v: not v["edited"], "the edit is applied")
    after = {a["name"]: a["pid"] for a in crew.view()["agents"]}
    assert after["a"] == before["a"]
    assert after["b"] != before["b"]


def test_send_is_confirmed_by_the_agent_and_queued_while_it_works(crew: Crew) -> None:
    crew.blueprint(TWO)
    crew.up("--wait")
    gate = faults.Gate(crew)
    out = crew.run("send", "a", "[[say: first]]").stdout
    # Which is not waited for longer than two seconds.
    assert "delivered" in out or "typed" in out
    crew.wait(lambda v: v["agents"][0]["detail"] == "first", "the first answer")
    crew.wait_status(a="ready")
    crew.run("send", "a", f"{gate.marker} [[say: slow]]")
    gate.reached()
    crew.wait_status(a="working")
    out = crew.run("send", "a", "[[say: after]]").stdout
    assert "queued" in out
    gate.open()
    crew.wait(lambda v: not v["messages"], "both are delivered")
    wait_until(lambda: "● after" in crew.run("logs", "a").stdout, "the second answer", 30)
    text = crew.run("logs", "a").stdout
    assert text.index("● slow") < text.rindex("● after")


def test_interrupt_restart_stop_why_and_ls(crew: Crew) -> None:
    crew.blueprint(TWO)
    crew.up("--wait")
    crew.run("send", "a", "[[sleep 600]]")
    crew.wait_status(a="working")
    faults.hooked(crew, "a", "[[sleep 600]]")
    crew.run("interrupt", "a")
    view = crew.wait_status(a="ready")
    assert "interrupted" in next(a for a in view["agents"] if a["name"] == "a")["flags"]
    why = crew.run("why", "a").stdout
    assert why.startswith("a is ready since ")
    assert "its status file says so" in why
    pid = crew.agent("a")["pid"]
    crew.run("restart", "a")
    crew.wait(lambda v: v["agents"][0]["pid"] not in (None, pid), "a new process")
    assert crew.agent("a")["conversation"]
    assert crew.session in crew.run("ls").stdout
    crew.run("interrupt", "a", check=False)


def test_a_question_is_answered_by_its_label(crew: Crew) -> None:
    crew.blueprint(TWO)
    crew.up("--wait")
    crew.run("send", "a", "[[ask: which one?|red|blue]]")
    crew.wait(lambda v: (v["agents"][0]["ask"] or {}).get("options"), "the question")
    crew.wait(lambda v: v["agents"][0]["ask"]["text"] == "which one?", "as its hook has it")
    assert crew.agent("a")["ask"]["kind"] == "question"
    wrong = crew.run("answer", "a", "green", check=False)
    assert wrong.returncode == 2
    assert "green" in wrong.stderr
    crew.run("answer", "a", "blue")
    crew.wait_status(a="ready")
    assert "blue" in crew.run("logs", "a").stdout
    gone = crew.run("answer", "a", "blue", check=False)
    assert gone.returncode == 1
    assert "asks nothing" in gone.stderr


def test_an_agent_may_send_and_look_but_not_command(crew: Crew) -> None:
    crew.blueprint(TWO)
    crew.up("--wait")
    crew.run("send", "a", "[[tool Bash: crew send b hello; crew stop b; crew status]]")
    wait_until(lambda: "is an agent" in crew.run("logs", "a").stdout, "the refusal", 30)
    assert crew.statuses()["b"] != "stopped"
    wait_until(lambda: "from a]" in crew.run("logs", "b").stdout, "its sender is named", 30)


def test_down_leaves_nothing_up_starts_clean_and_restore_resumes(crew: Crew) -> None:
    crew.blueprint(TWO)
    crew.up("--wait")
    crew.run("send", "a", "[[say: remember me]]")
    crew.wait(lambda v: v["agents"][0]["detail"] == "remember me", "the hook of its end")
    crew.wait_status(a="ready")
    before = crew.agent("a")["conversation"]
    crew.run("down")
    assert crew.processes() == []
    assert [p.name for p in crew.state.iterdir() if p.is_socket()] == []
    down = crew.run("status").stdout
    assert "down" in down
    assert "crew restore    with their conversations" in down
    assert "143" not in down, "that it was ended by a signal was wanted"
    assert "remember me" in crew.run("logs", "a").stdout
    assert "ready: remember me" in crew.run("events", "--agent", "a").stdout
    assert "a is stopped since" in crew.run("why", "a").stdout
    assert crew.processes() == [], "asking starts nothing"
    crew.run("restore")
    assert "t is up already: a, b" in crew.run("restore").stdout
    crew.wait_status(a="ready", b="ready")
    assert crew.agent("a")["conversation"] == before
    wait_until(lambda: "remember me" in crew.run("logs", "a").stdout, "the conversation", 30)
    crew.run("down")
    crew.up("--wait")
    assert crew.agent("a")["conversation"] != before
    assert "remember me" not in crew.run("logs", "a").stdout


@pytest.mark.parametrize("layout", ["tiled", "main"])
def test_panes_side_by_side(crew: Crew, layout: str) -> None:
    crew.blueprint(TWO + '[[agents]]\nname = "c"\n')
    text = (crew.cwd / "crew.toml").read_text()
    (crew.cwd / "crew.toml").write_text(f'layout = "{layout}"\n' + text)
    crew.up("--wait")
    windows = crew.tmux("list-windows", "-t", "=t:", "-F", "#{window_panes}").split()
    assert windows == ["3"]


class Outer:
    """A person's own tmux, with a terminal of a size."""

    def __init__(self, crew: Crew, columns: int, rows: int) -> None:
        self.socket = crew.home / "outer.sock"
        self.crew = crew
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(rows))
        self.tmux("set-option", "-g", "status", "off")

    def tmux(self, *arguments: str) -> str:
        return subprocess.run(
            ["tmux", "-S", str(self.socket), *arguments],
            env=self.crew.env,
            cwd=self.crew.cwd,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def screen(self) -> str:
        return self.tmux("capture-pane", "-p")

    def type(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (200, 50)])
def test_attach_from_inside_another_tmux(crew: Crew, columns: int, rows: int) -> None:
    """The agent redraws at the terminal's size; detaching changes nothing."""
    crew.blueprint(TWO)
    crew.up("--wait")
    outer = Outer(crew, columns, rows)
    try:
        outer.type(f"{CREW} attach a", "Enter")
        wait_until(lambda: "crew t" in outer.screen(), "the status line of the team", 30)
        pane = crew.agent("a")["pane"]
        size = f"{columns}x{rows - 1}"

        def window() -> str:
            return crew.tmux(
                "display-message", "-p", "-t", pane, "#{window_width}x#{window_height}"
            ).strip()

        wait_until(lambda: window() == size, f"the window is {size}", 30)
        wait_until(lambda: "❯" in outer.screen(), "the agent's prompt", 30)
        assert max(len(line) for line in outer.screen().splitlines()) <= columns
        before = crew.view()
        outer.type("C-b", "d")
        wait_until(lambda: "detached" in outer.screen(), "detached", 30)
        after = crew.view()
        assert [a["pid"] for a in after["agents"]] == [a["pid"] for a in before["agents"]]
    finally:
        outer.tmux("kill-server")


def test_attach_needs_a_terminal(crew: Crew) -> None:
    crew.blueprint(TWO)
    crew.up("--wait")
    done = crew.run("attach", check=False)
    assert done.returncode == 2
    assert "terminal" in done.stderr


def test_a_shell_is_an_agent_too(crew: Crew) -> None:
    crew.blueprint('[[agents]]\nname = "s"\ncli = "shell"\nenv = { PS1 = "$ " }\n')
    crew.up("--wait")
    crew.wait_status(s="ready")
    crew.run("send", "s", "echo $((20 + 22))", check=False)
    wait_until(lambda: "42" in crew.run("logs", "s").stdout, "the answer", 30)


def test_two_ups_at_the_same_instant(crew: Crew) -> None:
    crew.blueprint(TWO)
    both = [
        subprocess.Popen(
            [str(CREW), "up", "--trust", "--wait"],
            env=crew.env,
            cwd=crew.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    for one in both:
        out, err = one.communicate(timeout=50)
        assert one.returncode == 0, (out, err)
    crew.wait_status(a="ready", b="ready")
    spawned = [e for e in crew.events() if e["kind"] == "agent_spawned"]
    assert len(spawned) == 2


def test_nothing_is_readable_by_others(crew: Crew) -> None:
    before = os.umask(0)
    try:
        crew.blueprint(TWO)
        crew.up("--wait")
    finally:
        os.umask(before)
    root = crew.state.parent
    for path in [root, *root.rglob("*")]:
        # What is there for a moment may have gone.
        with contextlib.suppress(FileNotFoundError):
            if not path.is_symlink():
                assert path.stat().st_mode & 0o077 == 0, path


def test_values_of_the_environment_are_nowhere_on_disk(crew: Crew) -> None:
    crew.blueprint(TWO)
    crew.env["MY_TOKEN"] = "canary-5f2c9"
    crew.up("--wait")
    ask = '[[tool Bash: test "$MY_TOKEN" = canary-5f2c9 && echo it is there]] [[say: done]]'
    assert crew.run("send", "--wait", "a", ask).stdout == "done\n"
    wait_until(lambda: "⎿  it is there" in crew.run("logs", "a").stdout, "the agent has it", 30)
    supervisor = crew.supervisor()
    assert b"canary-5f2c9" not in Path(f"/proc/{supervisor}/environ").read_bytes()
    assert "canary" not in crew.tmux("show-environment", "-g")
    for path in crew.state.rglob("*"):
        if path.is_file() and not path.is_symlink():
            text = faults.contents(path).replace(b"= canary-5f2c9 &&", b"")
            assert b"canary-5f2c9" not in text, path


def test_python_is_not_fooled_by_the_directory(crew: Crew) -> None:
    """A folder of the project that is named like our package is not ours."""
    (crew.cwd / "orchestrator").mkdir()
    (crew.cwd / "orchestrator" / "__init__.py").write_text("raise SystemExit('foreign')")
    crew.blueprint(TWO)
    crew.up("--wait")
    assert sys.executable


def test_a_command_to_the_cli_is_taken_though_no_hook_tells(crew: Crew) -> None:
    """`/clear` gives no receipt: the empty input line is one. It is never typed twice."""
    crew.blueprint(TWO)
    crew.up("--wait")
    before = crew.agent("a")["conversation"]
    crew.run("send", "a", "/clear")
    crew.wait(lambda v: not v["messages"], "it counts as delivered")
    crew.wait(lambda v: v["agents"][0]["conversation"] != before, "a new conversation")


def test_a_long_command_to_a_shell_is_taken_at_once(crew: Crew) -> None:
    crew.blueprint('[[agents]]\nname = "s"\ncli = "shell"\nenv = { PS1 = "$ " }\n')
    crew.up("--wait")
    crew.run("send", "s", "until [ -e gate ]; do sleep 0.1; done; echo woke $((6 * 7))")
    crew.wait(lambda v: not v["messages"], "it counts as delivered")
    crew.wait_status(s="working")
    (crew.cwd / "gate").touch()
    crew.wait_status(s="ready")
    assert "woke 42" in crew.run("logs", "s").stdout
