"""An agent that prints what no CLI should: `hostile.py CASE BYTES PLACE`.

It shows that it is at rest until PLACE.go is there, prints at least so many BYTES and until
PLACE.stop is there, and then that it is over. PLACE.printed is how many bytes there were.
"""

import itertools
import os
import random
import sys
import threading
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

ROWS, COLUMNS = 45, 160
# Bytes of a flood that are made once; then it begins again.
ROUND = 400_000
REST, OVER = "== at rest ==", "== over =="
# Ends whatever string, character set, scrolling region or colour was begun; all else stays.
LAST = f"\x18\x1b\\\x1b(B\x0f\x1b[r\x1b[m\x1b[{ROWS};1H\x1b[2K{OVER}".encode()

chance = random.Random(7)
pick = chance.choice


def number() -> int:
    return pick((0, 1, 2, 7, ROWS, COLUMNS, 255, 99_999))


def text() -> str:
    return pick(("words", "a longer line of words ", "漢字", "\r\n", "\n", "\t", "x" * 200))


def lines() -> str:
    return f"\x1b[3{chance.randrange(8)}mline {chance.random()}\x1b[m of a very long text\r\n"


def csi() -> str:
    if chance.random() < 0.4:
        colour = ";".join(str(chance.randrange(256)) for _ in range(3))
        return f"\x1b[{pick((38, 48, 58))};2;{colour}m{text()}"
    final = pick("ABCDEFGHIJKLMPSTXZ`abdefghlmnqrstu@")
    private = pick(("", "", "", "?", ">"))
    return f"\x1b[{private}{number()};{number()}{final}{text()}"


def modes() -> str:
    """The alternate screen, the mouse, pasting, the cursor; other sizes; and all anew."""
    mode = pick((1, 5, 6, 7, 12, 25, 47, 1000, 1003, 1004, 1006, 1047, 1049, 2004, 2026))
    size = f"\x1b[8;{number()};{number()}t\x1b[3;{number()};{number()}t"
    rest = pick((size, "\x1bc", "\x1b#8", "\x1b7", "\x1b8", "\x1b(0lqk", "\x0e", "\x0f", "\x1bM"))
    return f"\x1b[?{mode}{pick('hl')}{text()}{rest}\x1b[{pick('246')}J\x07"


def strings() -> str:
    """OSC, DCS, APC and PM, whole ones, huge ones and some that do not end."""
    body = pick(("a title", "x" * 5000, "52;c;ZXZpbA==", "4;1;rgb:ff/00/00", "8;;http://e.example"))
    begin = pick(
        ("\x1b]0;", "\x1b]2;", "\x1b]", "\x1bP", "\x1bPtmux;\x1b", "\x1bk", "\x1b_", "\x1b^")
    )
    return begin + body + pick(("\x07", "\x1b\\", "\x1b\\", "\x18", "")) + text()


def wide() -> str:
    """Wide and combining characters, at any column, the last one too; and from right to left."""
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"
    marks = "".join(chr(chance.randrange(0x300, 0x370)) for _ in range(pick((1, 5, 60))))
    what = pick(
        (family, "\U0001f1e9\U0001f1ea", "\u2764\ufe0f", f"e{marks}", "שלום\u202eعربي\u2066")
    )
    row = "漢" * (COLUMNS // 2 + 3)
    return pick(
        (what, what, f"\x1b[{COLUMNS}G漢{what}", f"a{row}{what}", f"\x1b[{number()}G{marks}")
    )


def rubbish() -> bytes:
    return chance.randbytes(1000)


CASES: dict[str, Callable[[], str | bytes]] = {
    "lines of text": lines,
    "one line": lambda: "x" * 10_000,
    "binary rubbish": rubbish,
    "CSI": csi,
    "modes": modes,
    "OSC and DCS": strings,
    "wide and combining": wide,
}


def rounds(case: str) -> Iterator[bytes]:
    """A flood, without end."""
    make, made, size = CASES[case], [], 0
    while size < ROUND:
        found = make()
        made.append(found if isinstance(found, bytes) else found.encode())
        size += len(made[-1])
    whole = b"".join(made)
    return itertools.cycle([whole[n : n + 65536] for n in range(0, len(whole), 65536)])


def drain() -> None:
    """Take what the terminal answers."""
    while os.read(0, 65536):
        pass


def write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


def main(case: str, size: int, place: Path) -> None:
    flood = rounds(case)
    go, stop, account = (place.with_suffix(suffix) for suffix in (".go", ".stop", ".printed"))
    tty.setraw(0)
    threading.Thread(target=drain, daemon=True).start()
    write(f"{REST}\r\n".encode())
    while not go.exists():
        time.sleep(0.01)
    printed = 0
    with account.open("wb", buffering=0) as file:
        while printed < size or not stop.exists():
            write(data := next(flood))
            printed += len(data)
            os.pwrite(file.fileno(), b"%012d" % printed, 0)
    write(LAST)
    threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
