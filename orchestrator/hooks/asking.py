"""asking.py NAME: wait for a person's answer to the dialog that the hook in NAME has told of.

crew-hook runs it in its own place once the spool has the hook, which is its standard input. The
CLI shows its dialog meanwhile, and whichever answer comes first decides. So nothing here may be
an answer that nobody gave: whatever is odd, this ends with status 0 and has printed nothing.

A file of its own, run as `-S -I asking.py`: it imports little, and nothing of ours.
"""

import os
import select
import socket
import sys

# Seconds in which a supervisor that lives has taken the connection.
CONNECT = 0.1
# Where the supervisor listens, beside the spool.
SOCKET = "crew.sock"
# Bytes: many times what an answer takes.
LINE_MAX = 1024 * 1024


def main() -> None:
    name = sys.argv[1]
    # The file may be read and unlinked by now: only what is open can still be asked for its time.
    key = f"hook:{name}:{os.fstat(0).st_mtime_ns}"
    os.close(0)
    dialled = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    dialled.settimeout(CONNECT)
    dialled.connect(f"{os.environ['CREW_SPOOL'].rpartition('/')[0]}/{SOCKET}")
    # As long to import as all else together: in vain where no supervisor runs.
    import json

    request = {
        "id": name,
        "verb": "asked",
        "agent": os.environ["CREW_AGENT"],
        "run": int(os.environ["CREW_RUN"]),
        "key": key,
    }
    dialled.sendall(json.dumps(request).encode() + b"\n")
    answer = json.loads(_line(dialled))
    decision = answer.get("decision")
    if answer.get("exit") == 0 and isinstance(decision, dict):
        output = {"hookEventName": "PermissionRequest", "decision": decision}
        _print(json.dumps({"hookSpecificOutput": output}).encode() + b"\n")


def _line(dialled: socket.socket) -> bytes:
    """What the supervisor says, once it does; b"" when nobody waits for it any more."""
    dialled.setblocking(False)
    poll = select.poll()
    poll.register(dialled, select.POLLIN)
    # Nothing is asked of it: that its reader has gone is told all the same.
    poll.register(1, 0)
    line = b""
    while b"\n" not in line and len(line) < LINE_MAX:
        ready = {descriptor for descriptor, _ in poll.poll()}
        if 1 in ready:
            return b""
        chunk = dialled.recv(65536)
        if not chunk:
            return b""
        line += chunk
    return line


def _print(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


if __name__ == "__main__":
    try:
        main()
    finally:
        # Whatever happened, and without a word: the interpreter's own ending may have one.
        os._exit(0)
