"""A person and the demo team, from the first key to the last in the dashboard."""

from tests.end_to_end.conftest import CREW, Crew
from tests.end_to_end.test_attach import person
from tests.end_to_end.watching import FOOTER, choose, read, see, watch, write
from tests.tmux.screens import Screen


def test_the_demo_team_by_keys_alone(crew: Crew) -> None:
    for name in ("one.py", "two.py"):
        (crew.cwd / name).write_text("print()\n" * 20)
    crew.session = "demo"
    crew.env["DEMO_AGENT_PACE"] = "0"
    with person(crew, 110, 40) as screen:
        screen.run(str(CREW), "watch")
        see(screen, "there is no session yet: `", "up` starts one")
        screen.run(str(CREW), "up")
        see(screen, "demo is up: 3 started")
        watch(screen)
        answer_in_place(screen)
        talk(screen)
        go_there_and_back(screen)
        before = pids(crew)
        start_again(screen)
        assert len(before - pids(crew)) == 1
        end_one_of_some(screen)
        # Whoever leaves takes nobody with them.
        before = pids(crew)
        screen.type("q")
        see(screen, "prompt$", gone=FOOTER)
        assert pids(crew) == before
        crew.wait_status(boss="ready", worker_1="stopped", worker_2="ready")


def pids(crew: Crew) -> set[str]:
    """The processes of all panes."""
    return set(crew.tmux("list-panes", "-a", "-F", "#{pane_pid}").split())


def answer_in_place(screen: Screen) -> None:
    see(screen, " demo · up · 1 needs you", "NEEDS YOU", "? worker-2 asks to Read /")
    choose(screen, 0, "boss")
    screen.type("y")
    see(screen, "✗ boss asks nothing now")
    screen.type("Space")
    read(screen, "▸ ? worker-2 asks", "1  Yes", "3  No")
    screen.type("y")
    # What is said goes after some seconds, and what comes of it may take longer.
    see(screen, "✓ answered worker-2: ")
    see(screen, FOOTER, gone="NEEDS YOU")
    # What came of it, on the live screen of another agent.
    choose(screen, 0, "boss")
    see(screen, "\n  Python        2     40", "\n  Total         2     40")


def talk(screen: Screen) -> None:
    """A message of several lines, the letters of which are commands elsewhere."""
    screen.type("s")
    see(screen, "message to boss", "ctrl+s: send")
    write(screen, "quit [b]now[/b]?")
    screen.type("Enter")
    write(screen, "ynX /q")
    screen.type("C-s")
    see(screen, "✓ message ", " delivered to boss")
    see(screen, "● heard: quit [b]now[/b]?")
    screen.type("Right", "Right")
    see(screen, "[Messages]", "ynX /q", gone="ctrl+s: send")
    screen.type("Right")
    see(screen, "[Screen]", "● heard: quit")


def go_there_and_back(screen: Screen) -> None:
    screen.type("Enter")
    see(screen, "crew demo", "detach: C-b C-b d")
    screen.type("C-b", "d")
    see(screen, "boss [Screen]", FOOTER)


def start_again(screen: Screen) -> None:
    """With its conversation; it is asked once."""
    screen.type("R")
    see(screen, "Restart boss? It is ready.", "y  yes")
    screen.type("n")
    see(screen, FOOTER, gone="Restart boss?")
    screen.type("R")
    see(screen, "Restart boss?")
    screen.type("y")
    see(screen, "✓ boss is started again")
    # How long a turn took is not in the conversation.
    see(screen, "● heard: quit", gone="Worked for")


def end_one_of_some(screen: Screen) -> None:
    """A filter takes one in hand that it shows: a key is for nobody who is not seen."""
    screen.type("/")
    see(screen, "show only agents with")
    write(screen, "worker-1")
    screen.type("Enter")
    see(screen, "▸ worker-1  demo-worker", "\n worker-1 [Screen]", gone="worker-2  demo-worker")
    screen.type("/", "Escape")
    see(screen, "worker-2  demo-worker", gone="show only")
    screen.type("X")
    see(screen, "Stop worker-1?")
    screen.type("y")
    see(screen, "✓ worker-1 is being ended")
    see(screen, "■ stopped")
