"""What agents say is shown as it stands: nothing of it acts on the dashboard or on the terminal."""

import re

from orchestrator.core.text import width
from tests.end_to_end import faults
from tests.end_to_end.conftest import Crew
from tests.end_to_end.test_attach import person
from tests.end_to_end.watching import FOOTER, Recording, read, see, watch, write
from tests.support import wait_until
from tests.tmux.screens import Screen

# Whatever it is, it prints what is in a file, and has hooks that this test speaks for.
PRINTER = """
name = "printer"
[launch]
command = ["sh", "-c", "cat {root}/printed; exec cat"]
[hooks]
dialect = "claude"
events = ["PermissionRequest", "PreToolUse", "Stop"]
"""
ACTS = (
    "\x1b]52;c;ZXZpbA==\x07"  # the clipboard
    "\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\"
    "\x1b]0;a title\x07\x1bka name\x1b\\"
    "\x1bPtmux;\x1b\x1b]52;c;ZXZpbA==\x07\x1b\\\x1bP+q544e\x1b\\"
    "\x1b_an apc\x1b\\\x1b^a pm\x1b\\"
    "\x1b[c\x1b[6n\x1b[?1003h\x1b[31;5;8m\x1b[m"
    "\x9d52;c;ZXZpbA==\x9c\x9b31m\x07\x08\x0e\x0f"
)
MARKUP = "[@click=app.close]quit[/] [red]red[/red] [link='http://x']y[/] [/] [\\[ $error"
FAMILY, FLAG = "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea"
WORDS = f"漢字 e\u0301o\u0308 {FAMILY} \u2764\ufe0f {FLAG} \U0001f44d\U0001f3fd"
TURNED = "\u202eturned\u2066\u200b\ufeff\u2028"
# What Textual places and colours text with; the modes that it sets, and the mouse's pointer.
PLACING = re.compile(r"\x1b\[[0-?]*[ -/]*([@-~])|\x1b\]22;[a-z]+\x07")
CONTROLS = {chr(code) for code in (*range(32), *range(127, 160))}


def aligned(screen: Screen) -> None:
    """What stands beside the texts is where it belongs, above what the person is told."""

    def look() -> bool:
        rows = [row.partition("▏") for row in screen.lines()[1:-4]]
        return all(mark for _, mark, _ in rows) and len({width(left) for left, _, _ in rows}) == 1

    try:
        wait_until(look, "all is where it belongs", 30)
    except AssertionError as error:
        raise AssertionError(f"{error}:\n{screen.text()}") from None


def resize(screen: Screen, columns: int, count: int) -> None:
    """Make the terminal another size, and wait until all of it is used."""

    def fills() -> bool:
        rows = screen.lines()
        return len(rows) == count and FOOTER in rows[-1]

    screen.tmux("resize-window", "-x", str(columns), "-y", str(count))
    wait_until(fills, f"{count} rows", 30)


def hook(crew: Crew, event: str, number: int, **fields: object) -> None:
    run = crew.agent("evil")["run"]
    faults.spool(crew, f"evil.{run}.{event}.{number}", faults.payload(event, **fields))


def test_texts_that_would_act(crew: Crew) -> None:
    faults.define(crew, "printer", PRINTER)
    lines = ["=" * 10_000, ACTS * 20, f"{MARKUP} {TURNED}", f"{WORDS} the end", ACTS]
    (crew.cwd / "printed").write_text("\n".join(lines) + "\nprinted\n")
    crew.blueprint(f"[[agents]]\nname = 'evil'\ncli = 'printer'\nrole = '{MARKUP[:30]}'\n")
    crew.up()
    with person(crew, 160, 45) as screen:
        shown = Recording(screen, crew.home / "shown")
        watch(screen)
        see(screen, f"▏{MARKUP[:60]}", "the end", "\n▸ evil   [@click=app.c… ", "▏printed")
        tool = f"To{ACTS}ol[red]{TURNED}"
        hook(crew, "PreToolUse", 1, tool_name=tool, tool_input={"command": f"{MARKUP}{ACTS}"})
        # The rest of it is cut off once CPU and memory are known, which stand beside it.
        see(screen, "● working", "ol[red]tu")
        command = f"{ACTS[:40]}\n\ud83d {WORDS} {MARKUP}"
        hook(crew, "PermissionRequest", 2, tool_name=tool, tool_input={"command": command})
        see(screen, "? evil asks (permission): To", f"? {WORDS[:3]}", MARKUP[:20])
        options = [{"label": f"{ACTS}[red]{word}{TURNED}"} for word in ("one", "two")]
        asks = {"questions": [{"question": f"{MARKUP}{ACTS}{WORDS}", "options": options}]}
        hook(crew, "PermissionRequest", 3, tool_name="AskUserQuestion", tool_input=asks)
        read(screen, f"? evil asks (question): {MARKUP}"[:60], "[red]oneturned", "[red]twoturned")
        aligned(screen)
        screen.type("2")
        see(screen, "✗ evil ")
        crew("send", "evil", f"{MARKUP}{ACTS}\n{WORDS}", check=False)
        screen.type("Right")
        see(screen, "[Events]", "uses To", "ol[red]turned", "PermissionRequest AskUserQuestion")
        aligned(screen)
        screen.type("Right")
        see(screen, "[Messages]", "1 from person: queued", f"  {MARKUP[:40]}")
        # Nothing of it can be clicked.
        rows = screen.lines()
        row = next(number for number, line in enumerate(rows) if "quit[/]" in line)
        for action in "Mm":
            write(screen, f"\x1b[<0;{rows[row].index('quit[/]') + 1};{row + 1}{action}")
        screen.type("Left", "Left")
        see(screen, "[Screen]", "▏printed")
        for columns, count in ((80, 24), (200, 60)):
            resize(screen, columns, count)
            see(screen, f"evil asks (question): {MARKUP[:20]}")
        aligned(screen)
        screen.type("q")
        see(screen, "prompt$", gone=FOOTER)
        shown.wait_for("prompt$")
        written = shown.bytes().decode()
        assert "oneturned" in written
        assert {match[1] for match in PLACING.finditer(written)} <= {*"Hmhlup", None}
        assert set(PLACING.sub("", written)) & CONTROLS <= {"\r", "\n"}
