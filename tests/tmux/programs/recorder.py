"""Asks for bracketed paste, and records what it reads from its raw terminal, a chunk a line."""

import base64
import os
import sys
import tty
from pathlib import Path

tty.setraw(0)
with Path(sys.argv[1]).open("wb", buffering=0) as out:
    os.write(1, b"\x1b[?2004hready")
    while True:
        out.write(base64.b64encode(os.read(0, 65536)) + b"\n")
