"""Prints the file that it is given as it is, and stays."""

import sys
from pathlib import Path

sys.stdout.buffer.write(Path(sys.argv[1]).read_bytes())
sys.stdout.flush()
sys.stdin.read()
