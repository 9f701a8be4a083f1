"""Each source is cut while an agent works: its status stays right, what is lost is named, and both
are well again soon after the cure.

Every step of a turn is held until it is shown, so a subscriber is told each of them, and any other
that it is told of was never true.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchestrator import procfs
from orchestrator.client import Client, merge
from orchestrator.core import doubts
from orchestrator.errors import CrewError
from orchestrator.locations import SessionPaths
from orchestrator.tmux import link
from tests.counts import cannot, measured
from tests.end_to_end import faults
from tests.end_to_end.claude_team import Claude
from tests.end_to_end.conftest import CREW, Crew
from tests.end_to_end.faults import Gate
from tests.end_to_end.test_claude_usage_deaths import OPUS, reported
from tests.end_to_end.test_faults_hooks import own_hook
from tests.support import wait_until

View = Mapping[str, Any]

ONE = '[[agents]]\nname = "a"\n'
# What only its screen tells of.
SHELL = '[[agents]]\nname = "s"\ncli = "shell"\nenv = { PS1 = "$ " }\n'
# Seconds for "within a second of the cure", on a machine that does much else at the same time.
SOON = 15.0
# Seconds for which a step is held, where a source that says nothing new might be believed again.
HELD = 3.0
QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")
# The steps of `turns`.
STEPS = ["ready", "working", "ready", "working", "blocked", "working", "ready"]


class Timeline:
    """The statuses of the agents as a subscriber is told of them, while this lasts."""

    def __init__(self, crew: Crew) -> None:
        self.told: dict[str, list[str]] = {}
        self._crew = crew
        self._over = False
        self._began = threading.Event()
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> "Timeline":
        environ, paths = self._crew.env, SessionPaths(self._crew.state)
        self._client = Client.connect(paths, start=False, environ=environ)
        self._thread.start()
        assert self._began.wait(30), "the subscriber is told of nothing"
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        with contextlib.suppress(OSError):
            self._client._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(30)
        self._client.close()

    def only(self, **steps: Sequence[str]) -> None:
        """These were shown, by agent, and nothing else."""
        for name, wanted in steps.items():
            told = self.told[name]
            # Another subscriber may have been told first.
            with contextlib.suppress(AssertionError):
                wait_until(lambda t=told, w=wanted: len(t) >= len(w), "all was told")  # type: ignore[misc] # early binding
            assert told == list(wanted), f"{name} was shown: {', '.join(told)}"

    def stays_in_turn(self) -> None:
        """For some seconds, a source that says nothing new is not believed to say `ready`."""
        told = self.told["a"]
        wait_until(lambda: told[-1] == "working", "the subscriber is told", 30)
        known = len(told)
        hold(HELD)
        assert "ready" not in told[known:], f"shown: {', '.join(told)}"

    def _read(self) -> None:
        view: dict[str, Any] = {}
        with contextlib.suppress(CrewError):
            for line in self._client.stream("watch", revive=lambda: False):
                if self._over:
                    return
                view = line["view"] if "view" in line else merge(view, line["change"])
                for agent in view["agents"]:
                    known = self.told.setdefault(agent["name"], [])
                    if known[-1:] != [agent["status"]]:
                        known.append(agent["status"])
                self._began.set()


def wrongs(view: View) -> list[str]:
    """All that is said to be wrong with what the supervisor is told by."""
    doubted = [doubt for agent in view["agents"] for doubt in agent["doubts"]]
    return [*filter(None, view["health"]["sources"].values()), *doubted]


def named(crew: Crew, *words: str) -> None:
    """Wait until a sentence with all of `words` says what is lost, to a person as well."""

    def said(view: View) -> bool:
        return any(all(word in wrong for word in words) for wrong in wrongs(view))

    view = crew.wait(said, f"{words} are named")
    shown = crew.run("status").stdout + crew.run("why", "a").stdout
    assert all(word in shown for word in words), (wrongs(view), shown)


def cured(crew: Crew, what: str, since: float, right: Callable[[View], object]) -> None:
    """Wait until all is right and nothing is said to be wrong: soon after the cure at `since`."""

    def look(view: View) -> bool:
        return not wrongs(view) and bool(right(view))

    try:
        crew.wait(look, f"{what}: all is well again")
    except AssertionError as error:
        raise AssertionError(f"{error}: {wrongs(crew.view())}") from None
    took = time.monotonic() - since
    measured(f"{what}: right after the cure in", took, "s")
    assert took < SOON


def is_now(**statuses: str) -> Callable[[View], bool]:
    """Whether the agents have these statuses, and whoever is blocked shows what to answer."""

    def look(view: View) -> bool:
        agents = {agent["name"]: agent for agent in view["agents"]}
        return all(
            agents[name]["status"] == status
            and (status != "blocked" or bool(agents[name]["ask"]["options"]))
            for name, status in statuses.items()
        )

    return look


def turns(crew: Crew, number: int = 0, held: Callable[[], None] = lambda: None) -> None:
    """A turn that works, `held`, and ends; one that asks, is answered, works and ends."""
    works, asks = Gate(crew, f"works{number}"), Asks(crew, "a", f"asks{number}")
    crew.run("send", "a", f"{works.marker} [[say: worked {number}]]")
    works.reached()
    crew.wait(is_now(a="working"), "it works")
    held()
    works.open()
    crew.wait(is_now(a="ready"), "it is ready")
    crew.run("send", "a", asks.prompt)
    asks.works()
    crew.wait(is_now(a="blocked"), "it asks")
    asks.answered()
    crew.wait(lambda v: not v["messages"], "all was delivered")


class Asks:
    """A turn that works, asks, and works on; held while it works."""

    def __init__(self, crew: Crew, agent: str, name: str) -> None:
        self._crew, self._agent = crew, agent
        self._first, self._then = Gate(crew, f"{name}-first"), Gate(crew, f"{name}-then")
        self.prompt = f"{self._first.marker} [[ask-tool Bash: {self._then.command}]]"

    def works(self) -> None:
        """It works, and is let go on to its question."""
        self._first.reached()
        self._crew.wait(is_now(**{self._agent: "working"}), "it works")
        self._first.open()

    def ask_unseen(self) -> None:
        self._first.open()

    def answered(self) -> None:
        """A person says yes; it works on, and ends."""
        self._crew.run("answer", self._agent, "1")
        self._then.reached()
        self._crew.wait(is_now(**{self._agent: "working"}), "it works on")
        self._then.open()
        self._crew.wait(is_now(**{self._agent: "ready"}), "it is ready again")


def hold(seconds: float) -> None:
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() > end, "it was held long enough", seconds + 30)


def typed(crew: Crew, agent: str, text: str) -> None:
    """Give an agent a prompt past the supervisor, as a person would."""
    pane = crew.agent(agent)["pane"]
    crew.tmux("send-keys", "-t", pane, "-l", text)
    crew.tmux("send-keys", "-t", pane, "Enter")


def began(crew: Crew, *names: str) -> Timeline:
    """Everybody is up and was heard, and nothing is wrong yet. `names`: who has hooks."""

    def heard() -> bool:
        hooks = faults.journal(crew, "hook_received")
        return {e["agent"] for e in hooks if e["hook"] == "SessionStart"} == set(names or "a")

    wait_until(heard, "everybody's start", 30)
    new = crew.state / "spool/new"
    wait_until(lambda: not faults.listed(new), "the spool is empty", 30)
    crew.wait(lambda v: not wrongs(v), "nothing is wrong")
    return Timeline(crew)


# -- hooks ----------------------------------------------------------------------------------------


def up_without_override(crew: Crew) -> None:
    """As root nothing is unwritable, unless that power was given up."""
    without = ["setpriv", "--bounding-set=-dac_override"] if os.geteuid() == 0 else []
    if without and not can_run(*without, "true"):
        cannot("root keeps the power to write everywhere")
    up_by(crew, *without)


def can_run(*argv: str) -> bool:
    if shutil.which(argv[0]) is None:
        return False
    return subprocess.run(argv, capture_output=True, check=False, timeout=30).returncode == 0


def up_by(crew: Crew, *argv: str) -> None:
    """`crew up`, as what this command makes of it."""
    done = subprocess.run(
        [*argv, str(CREW), "up", "--trust", "--wait"],
        env=crew.env,
        cwd=crew.cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_the_spool_cannot_be_written(crew: Crew) -> None:
    crew.blueprint(ONE)
    up_without_override(crew)
    parts = [crew.state / "spool/tmp", crew.state / "spool/new"]
    with began(crew) as timeline:
        seq = crew.events()[-1]["seq"]
        for part in parts:
            part.chmod(0o500)
        turns(crew)
        named(crew, "spool", "cannot be written")
        assert faults.journal(crew, "hook_received", since=seq) == [], "no hook told of any of it"
        for part in parts:
            part.chmod(0o700)
        since = time.monotonic()
        crew.wait(lambda v: not v["health"]["sources"]["files"], "it is seen to be cured", SOON)
        measured("the spool can be written: seen after", time.monotonic() - since, "s")
        first_hook(crew, "spool unwritable")
        timeline.only(a=[*STEPS, "working", "ready"])


def first_hook(crew: Crew, what: str) -> None:
    """The hooks are silent until there is something to tell of: nothing can be seen before."""
    gate = Gate(crew, "told")
    since = time.monotonic()
    typed(crew, "a", gate.marker)
    cured(crew, f"{what}, from the next prompt", since, is_now(a="working"))
    gate.reached()
    gate.open()
    crew.wait(is_now(a="ready"), "it is ready")


def test_the_hook_script_is_deleted(crew: Crew) -> None:
    script = own_hook(crew)
    crew.blueprint(ONE)
    crew.up("--wait")
    kept = script.with_name("kept")
    with began(crew) as timeline:
        script.rename(kept)
        # A hook may be that much older than what others tell of its turn.
        hold(doubts.BEFORE)
        turns(crew)
        named(crew, "hooks")
        assert "disagreement" in crew.agent("a")["flags"]
        kept.rename(script)
        first_hook(crew, "hook script deleted")
        timeline.only(a=[*STEPS, "working", "ready"])


def test_the_spool_is_removed(crew: Crew) -> None:
    """It is made anew without anybody's help."""
    crew.blueprint(ONE)
    crew.up("--wait")
    with began(crew) as timeline:
        shutil.rmtree(crew.state / "spool")
        since = time.monotonic()
        wait_until((crew.state / "spool/bad").is_dir, "it is made anew", 30)
        cured(crew, "spool removed", since, is_now(a="ready"))
        turns(crew)
        wait_until(lambda: last_hook(crew) == "Stop", "the hook of the turn's end", 30)
        timeline.only(a=STEPS)


def last_hook(crew: Crew) -> object:
    return faults.journal(crew, "hook_received")[-1]["hook"]


# -- the agent's own files ------------------------------------------------------------------------


def test_the_status_directory_is_removed(crew: Crew) -> None:
    crew.blueprint(ONE)
    crew.up("--wait")
    directory = crew.state / "demo-agent/sessions"
    with began(crew) as timeline:
        # What the file says is old, and the hooks tell of everything.
        turns(crew)
        # A hook tells of the turn's end before the file does.
        file = directory / f"{crew.agent('a')['pid']}.json"
        wait_until(lambda: '"idle"' in file.read_text(), "the file says so as well", 30)
        shutil.rmtree(directory)
        # Or the agent would make it anew.
        directory.touch()
        turns(crew, 1, timeline.stays_in_turn)
        named(crew, "status file")
        directory.unlink()
        gate = Gate(crew, "cured")
        since = time.monotonic()
        # The agent makes it anew.
        typed(crew, "a", gate.marker)
        cured(crew, "status directory removed, from the next prompt", since, is_now(a="working"))
        gate.reached()
        gate.open()
        crew.wait(is_now(a="ready"), "it is ready")
        # A screen may show the turn for a moment after its hook has told of its end.
        assert timeline.told["a"][: len(STEPS)] == STEPS
        assert crew.view()["missed_events"] == 0


def lines(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        with contextlib.suppress(ValueError):  # it was cut
            yield json.loads(line)


def output(*texts: str) -> int:
    """The tokens that lines of transcripts tell of, each line once."""
    found = {line["uuid"]: line for text in texts for line in lines(text)}
    messages = [line["message"] for line in found.values() if line["type"] == "assistant"]
    return sum(message["usage"]["output_tokens"] for message in messages)


def used(crew: Crew) -> int:
    tokens: int = crew.agent("a")["usage"]["output"]
    return tokens


@pytest.mark.parametrize(
    "how",
    [
        "cut",
        "rotated",
        pytest.param("emptied", marks=pytest.mark.full),
        pytest.param("deleted", marks=pytest.mark.full),
    ],
)
def test_the_transcript_is_cut(crew: Crew, how: str) -> None:
    """In the middle of a turn. Nothing is counted or told twice, and nothing is lost."""
    crew.blueprint(ONE)
    crew.up("--wait")
    with began(crew) as timeline:
        gate = Gate(crew)
        crew.run("send", "--wait", "a", "[[say: one]] [[say: two]]")
        crew.run("send", "a", f"[[say: three]] {gate.marker} [[say: four]]")
        gate.reached()
        conversation = crew.agent("a")["conversation"]
        (path,) = crew.state.rglob(f"{conversation}.jsonl")
        before = path.read_text()
        wait_until(lambda: used(crew) == output(before), "all so far is counted", 30)
        cut(path, how)
        since = time.monotonic()
        gate.open()
        crew.wait(is_now(a="ready"), "it is ready")
        turns(crew)
        seconds = time.monotonic() - since
        after = path.read_text()
        wait_until(lambda: used(crew) == output(before, after), "each line is counted once", 30)
        measured(f"transcript {how}: two turns and all counted", seconds, "s")
        view = crew.view()
        assert (view["messages"], view["missed_events"], wrongs(view)) == ([], 0, [])
        timeline.only(a=["ready", "working", "ready", "working", *STEPS])
    told = [e for e in faults.journal(crew, "transcript_seen") if e["prompts"]]
    prompts = [prompt for e in told for prompt in e["prompts"]]  # type: ignore[attr-defined]
    assert len(prompts) == len(set(prompts)) == 4, prompts


def cut(path: Path, how: str) -> None:
    if how == "cut":
        text = path.read_bytes()
        os.truncate(path, text.index(b"\n", len(text) // 2) + 1)
    elif how == "emptied":
        os.truncate(path, 0)
    elif how == "rotated":
        path.rename(path.with_name(f"{path.name}.1"))
    else:
        path.unlink()


@pytest.mark.timeout(240)
def test_a_real_cli_loses_its_files(claude: Claude) -> None:
    """Its status directory for two turns, in which nothing but hooks and screen tell; then its
    transcript. What it does without them is for it to say."""
    crew, api = claude.crew, claude.api
    claude.blueprint(ONE)
    crew.up("--wait")
    directory = claude.home / ".claude/sessions"
    kept = directory.with_name("kept")
    with began(crew) as timeline:
        held(claude, "[[hold one]] [[say: one]]", "one")
        (file,) = directory.glob("*.json")
        # A hook may tell of the turn before the file does.
        wait_until(lambda: '"busy"' in file.read_text(), "the file says so as well", 30)
        shutil.copytree(directory, kept)
        shutil.rmtree(directory)
        named(crew, "status file")
        api.release("one")
        crew.wait(is_now(a="ready"), "it is ready")
        held(claude, "[[hold two]] [[tool Bash: touch x]] [[hold three]] [[say: two]]", "two")
        timeline.stays_in_turn()
        api.release("two")
        crew.wait(is_now(a="blocked"), "it asks")
        crew.run("answer", "a", "1")
        api.wait_held("three")
        crew.wait(is_now(a="working"), "it works on")
        cut(Path(crew.agent("a")["transcript"]), "rotated")
        api.release("three")
        crew.wait(is_now(a="ready"), "it is ready")
        # The CLI writes to a file that is there, and makes none.
        kept.rename(directory)
        since = time.monotonic()
        cured(crew, "a real CLI's status directory removed", since, is_now(a="ready"))
        was = file.read_text()
        held(claude, "[[hold four]] [[say: four]]", "four")
        wait_until(lambda: file.read_text() != was, "the CLI goes on with its file", 30)
        api.release("four")
        crew.wait(is_now(a="ready"), "it is ready")
        wait_until(partial(all_counted, claude), "each answer is counted once", 60)
        crew.wait(lambda v: not wrongs(v), "nothing is wrong")


def held(claude: Claude, prompt: str, name: str) -> None:
    """Give it a prompt, and wait until it works and its answer is held."""
    claude.crew.run("send", "a", prompt)
    claude.api.wait_held(name)
    claude.crew.wait(is_now(a="working"), "it works")


def all_counted(claude: Claude) -> bool:
    models = claude.crew.agent("a")["usage"]["models"]
    return bool(models[OPUS] == reported(claude, compaction=False))


# -- inotify --------------------------------------------------------------------------------------


@pytest.mark.timeout(300)
def test_the_queue_of_notifications_overflows(
    crew: Crew, count: Callable[[str, int, int], int]
) -> None:
    """More files than the kernel's queue holds, and then a turn that it tells nothing of."""
    queue = int(QUEUE.read_text(encoding="ascii"))
    if queue > 90_000:
        cannot("the kernel's queue is too long to be filled")
    number = count("files that overflow inotify's queue", queue + 500, max(100_000, queue + 500))
    crew.blueprint(ONE)
    crew.up("--wait")
    supervisor, pane = crew.supervisor(), crew.agent("a")["pane"]
    works, asks = Gate(crew, "works"), Asks(crew, "a", "asks")
    with began(crew) as timeline:
        crew.run("send", "a", f"{works.marker} [[say: worked]]")
        works.reached()
        crew.wait(is_now(a="working"), "it works")
        with faults.hanging(supervisor):
            wait_until(partial(is_stopped, supervisor), "it stands still", 30)
            flood(crew.state / "demo-agent/sessions", number)
            works.open()
            wait_until(partial(shows, crew, pane, "? for shortcuts"), "the turn's end", 30)
            crew.tmux("send-keys", "-t", pane, "-l", asks.prompt)
            crew.tmux("send-keys", "-t", pane, "Enter")
            asks.ask_unseen()
            wait_until(partial(shows, crew, pane, "Esc to cancel"), "its dialog", 30)
            since = time.monotonic()
        cured(crew, f"inotify overflow by {number:,} files", since, is_now(a="blocked"))
        told = [str(e["reason"]) for e in faults.journal(crew, "source_doubted")]
        assert any("overflowed" in reason for reason in told), told
        asks.answered()
        turns(crew, 1)
        timeline.only(a=["ready", "working", "blocked", "working", *STEPS])
        assert crew.view()["missed_events"] == 0


def is_stopped(pid: int) -> bool:
    found = procfs.stat(pid)
    return found is not None and found.state == b"T"


def flood(directory: Path, number: int) -> None:
    for n in range(number):
        os.close(os.open(directory / f"file-{n}", os.O_CREAT | os.O_WRONLY, 0o600))


def shows(crew: Crew, pane: str, text: str) -> bool:
    return text in crew.tmux("capture-pane", "-p", "-t", pane)


LIMIT = "/proc/sys/user/max_inotify_instances"


def test_the_inotify_instances_are_used_up(crew: Crew) -> None:
    """In a user namespace of its own, whose limits are ours to set."""
    limited = ["unshare", "-Ur", "sh", "-c", f'echo 0 >{LIMIT} && exec "$@"', "sh"]
    if not can_run(*limited, "true") or shutil.which("nsenter") is None:
        cannot("no user namespaces")
    crew.blueprint(ONE)
    up_by(crew, *limited)
    with Timeline(crew) as timeline:
        named(crew, "limit of file watches")
        turns(crew)
        named(crew, "limit of file watches")
        inside = ["nsenter", "-t", str(crew.supervisor()), "-U", "--preserve-credentials"]
        subprocess.run([*inside, "sh", "-c", f"echo 16 >{LIMIT}"], check=True, timeout=30)
        cured(crew, "inotify instances used up", time.monotonic(), is_now(a="ready"))
        turns(crew, 1)
        timeline.only(a=[*STEPS, *STEPS[1:]])
        assert (wrongs(crew.view()), crew.view()["missed_events"]) == ([], 0)


# -- tmux -----------------------------------------------------------------------------------------


def refusing(crew: Crew) -> Path:
    """While the file that is returned is there, tmux takes no control client of this crew's."""
    real = shutil.which("tmux")
    assert real is not None
    directory, flag = crew.home / "tmux", crew.home / "refuse"
    directory.mkdir()
    refuse = f'case " $* " in *" -C "*) [ ! -e {flag} ] || exit 1 ;; esac'
    wrapper = directory / "tmux"
    wrapper.write_text(f'#!/bin/sh\n{refuse}\nexec {real} "$@"\n')
    wrapper.chmod(0o700)
    crew.env["PATH"] = f"{directory}:{crew.env['PATH']}"
    return flag


def shell(crew: Crew, gate: Gate) -> None:
    """Have the shell run until the gate is open. The echo of what is typed alone wakes nobody."""
    typed(crew, "s", f"echo begins; {gate.command}")
    gate.reached()
    crew.wait(is_now(s="working"), "the shell runs it")


def test_the_control_client_is_killed_and_kept_away(
    crew: Crew, count: Callable[[str, int, int], int]
) -> None:
    """Hooks and files go on; of a shell nothing can be known until it is back."""
    assert link.PAUSE_MAX < 1, "longer pauses would outlast the cure"
    seconds = count("seconds that tmux takes no client", 3, 10)
    flag = refusing(crew)
    crew.blueprint(ONE + SHELL)
    crew.up("--wait")
    works, runs, asks = Gate(crew, "works"), Gate(crew, "runs"), Asks(crew, "a", "asks")
    began(crew)
    shell(crew, runs)
    flag.touch()
    faults.kill(int(crew.tmux("list-clients", "-F", "#{client_pid}").split()[0]))
    # Also where nobody watches.
    wait_until(partial(is_told, crew, "not connected to tmux"), "it is named", 30)
    with Timeline(crew) as timeline:
        typed(crew, "a", works.marker)
        works.reached()
        crew.wait(is_now(a="working"), "it works")
        works.open()
        crew.wait(is_now(a="ready"), "it is ready")
        typed(crew, "a", asks.prompt)
        asks.works()
        crew.wait_status(a="blocked")
        runs.open()
        wait_until(partial(idle_shell, crew), "the shell has done it", 30)
        # By now the pauses between two tries are as long as they get.
        hold(seconds)
        named(crew, "not connected to tmux")
        flag.unlink()
        cured(crew, "control client away", time.monotonic(), is_now(a="blocked", s="ready"))
        asks.answered()
        timeline.only(a=STEPS, s=["working", "ready"])
        assert crew.view()["missed_events"] == 0


def is_told(crew: Crew, words: str) -> bool:
    return words in crew.run("status").stdout


def idle_shell(crew: Crew) -> bool:
    """Whether its prompt stands in the last line."""
    text = crew.tmux("capture-pane", "-p", "-t", crew.agent("s")["pane"])
    return text.rstrip().endswith("$")


def test_tmux_is_stopped_and_continued(crew: Crew, count: Callable[[str, int, int], int]) -> None:
    """Hooks and files go on; of a shell nothing can be known until it goes on."""
    seconds = count("seconds that tmux is stopped", 5, 12)
    crew.blueprint(ONE + SHELL + '[[agents]]\nname = "b"\n')
    crew.up("--wait")
    works, runs, asks = Gate(crew, "works"), Gate(crew, "runs"), Asks(crew, "b", "asks")
    with began(crew, "a", "b") as timeline:
        shell(crew, runs)
        crew.run("send", "a", f"{works.marker} [[say: worked]]")
        crew.run("send", "b", asks.prompt)
        works.reached()
        crew.wait(is_now(a="working", b="working"), "both work")
        server = crew.view()["server"]
        with faults.hanging(server):
            end = time.monotonic() + seconds
            works.open()
            runs.open()
            asks.works()
            crew.wait_status(a="ready", b="blocked")
            named(crew, "tmux", "not answer")
            wait_until(lambda: time.monotonic() > end, "it stood still long enough", 30)
            since = time.monotonic()
        cured(crew, "tmux stopped", since, is_now(a="ready", b="blocked", s="ready"))
        asks.answered()
        timeline.only(
            a=["ready", "working", "ready"],
            b=["ready", "working", "blocked", "working", "ready"],
            s=["ready", "working", "ready"],
        )
        assert crew.view()["missed_events"] == 0
