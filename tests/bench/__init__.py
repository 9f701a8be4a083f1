"""What it costs: `bin/bench` measures from outside, and prints each figure beside its budget.

A benchmark is one file in `benchmarks/`; its name is the file's, without `.py`. It has

    measure(home: Path) -> Iterator[Figure]

which is given an empty, private HOME for what it starts, and which ends all of that. The first
line of the file's docstring says what is measured. What arrives is counted at the far end (bytes
at the other side of a terminal, lines at the other end of a socket), what it cost by the kernel.
"""
