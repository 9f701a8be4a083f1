"""A small server that speaks the supervisor's protocol, for tests of its clients.

In a test: `FakeSupervisor(paths)` in a thread of its own. As a process, in the place of the real
supervisor (`start.supervisor_argv`): `python fake_supervisor.py SESSION`, told by
$CREW_TEST_START how to start.
"""

import fcntl
import json
import os
import queue
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import contextlib

from orchestrator.locations import SessionPaths, ensure_private, session_paths

Json = dict[str, Any]
Handler = Callable[[Json], Json]


NOTHING_ASKED = {
    **dict.fromkeys(("running", "waiting", "done", "hits", "joined", "failed"), 0),
    "saved_usd": 0.0,
}
NOTHING_USED = {"input": 0, "output": 0, "cache_write": 0, "cache_read": 0, "cost_usd": 0.0}


def agent(name: str, status: str = "ready", **more: Any) -> Json:
    """One agent of a view."""
    return {
        "name": name,
        "role": "",
        "cli": "demo",
        "status": status,
        "doing": None,
        "flags": [],
        "doubts": [],
        "since": time.time() - 12,
        "detail": "",
        "pid": 4242,
        "pane": "%1",
        "conversation": "c-1",
        "transcript": None,
        "dialect": None,
        "run": 1,
        "ask": None,
        "exit": None,
        "wanted": True,
        "waiting_for": [],
        "queued": 0,
        "held": None,
        "limited_until": None,
        "usage": {**NOTHING_USED, "models": {}, "cost_source": None, "context": None},
        "restart_at": None,
        **more,
    }


def ask(text: str, **labels: str) -> Json:
    """What a blocked agent asks; `labels` by key, a leading `k` of which is dropped."""
    options = [{"key": key.removeprefix("k"), "label": label} for key, label in labels.items()]
    return {"kind": "permission", "text": text, "tool": "Bash", "options": options}


def message(number: int, to: str, state: str = "queued", detail: str = "") -> Json:
    return {
        "number": number,
        "to": to,
        "sender": "person",
        "state": state,
        "detail": detail,
        "text": "hello",
    }


def session(name: str, *agents: Json, **more: Any) -> Json:
    """A view."""
    return {
        "session": name,
        "state": "up",
        "root": "/srv/project",
        "blueprint": "/srv/project/crew.toml",
        "layout": "windows",
        "supervisor": {"pid": os.getpid(), "since": time.time() - 180},
        "server": 4241,
        "agents": list(agents),
        "messages": [],
        "missed_events": 0,
        "usage": NOTHING_USED,
        "edited": [],
        "samples": {},
        "health": {"storage": None},
        "asks": NOTHING_ASKED,
        **more,
    }


class FakeSupervisor:
    """Serves one session. `handlers` answer verbs, `lines` holds every request that was read."""

    def __init__(self, paths: SessionPaths, *agents: Json) -> None:
        for directory in (paths.root.parent, *paths.directories()):
            ensure_private(directory)
        paths.database.touch()
        self.paths = paths
        self.view = session(paths.name, *agents)
        self.lines: list[Json] = []
        # Each one drops a connection after a line was read and done, before it is answered.
        self.breaks = 0
        self.handlers: dict[str, Handler] = {}
        self.streams: dict[str, Callable[[Json], Iterator[Json]]] = {"watch": self._watch}
        # Speaks instead of everything below; False: hangs up.
        self.serve: Callable[[Json, Any], bool] = self._serve
        self._done: dict[str, Json] = {}
        self._watchers: list[queue.Queue[Json | None]] = []
        self._lock = threading.Lock()
        fake = self

        class Talk(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                fake._talk(self)

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 64

            def process_request(self, request: Any, client_address: Any) -> None:
                # In the thread that `leave` waits for: it closes each that was taken in.
                fake._connections.append(request)
                super().process_request(request, client_address)

        paths.socket.unlink(missing_ok=True)
        self._server = Server(str(paths.socket), Talk)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._connections: list[Any] = []

    def __enter__(self) -> "FakeSupervisor":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """End as a supervisor does: nothing listens any more, every connection is closed."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
        self.paths.socket.unlink(missing_ok=True)
        for watcher in list(self._watchers):
            watcher.put(None)
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(2)

    def publish(self, **part: Any) -> None:
        """Tell every watcher of a change; the view has it from now on."""
        with self._lock:
            agents = {a["name"]: a for a in self.view["agents"]}
            agents.update({a["name"]: a for a in part.get("agents", [])})
            kept = [a for name, a in agents.items() if name not in part.get("gone", [])]
            rest = {k: v for k, v in part.items() if k not in ("agents", "gone")}
            self.view = {**self.view, **rest, "agents": kept}
            for watcher in self._watchers:
                watcher.put(part)

    def asked(self, verb: str) -> list[Json]:
        """The requests for `verb`, as they were read."""
        return [line for line in self.lines if line["verb"] == verb]

    # -- one connection ---------------------------------------------------------------------------

    def _talk(self, talk: socketserver.StreamRequestHandler) -> None:
        try:
            for raw in talk.rfile:
                request = json.loads(raw)
                self.lines.append(request)
                if not self.serve(request, talk):
                    return
        except OSError:
            pass  # the client has gone
        finally:
            self._connections.remove(talk.connection)

    def _serve(self, request: Json, talk: socketserver.StreamRequestHandler) -> bool:
        def write(line: Json) -> None:
            talk.wfile.write(json.dumps({"id": request["id"], **line}).encode() + b"\n")

        def flow(lines: Iterator[Json]) -> None:
            with contextlib.suppress(OSError, ValueError):  # the client has gone
                for line in lines:
                    write(line)

        stream = self.streams.get(request["verb"])
        if stream is not None:
            # Side by side with what else is asked on this connection.
            threading.Thread(target=flow, args=(stream(request),), daemon=True).start()
            return True
        answer = self._answer(request)
        if self.breaks:
            self.breaks -= 1
            return False
        write(answer)
        if request["verb"] == "down" and answer["exit"] == 0:
            threading.Thread(target=self.leave).start()
        return True

    def _answer(self, request: Json) -> Json:
        """Answer a request; one that was done before is not done again."""
        with self._lock:
            if request["id"] in self._done and request["verb"] != "send":
                return self._done[request["id"]]
        handler = self.handlers.get(request["verb"])
        answer = {"exit": 0, **(handler(request) if handler else self._default(request))}
        self._done[request["id"]] = answer
        return answer

    def _default(self, request: Json) -> Json:
        match request["verb"]:
            case "status":
                return {"view": self.view}
            case "up":
                names = [a["name"] for a in self.view["agents"]]
                return {"started": names, "adopted": [], "changed": [], "removed": []}
            case "down":
                return {"ending": [a["name"] for a in self.view["agents"]]}
            case _:
                return {}

    def _watch(self, _: Json) -> Iterator[Json]:
        mine: queue.Queue[Json | None] = queue.Queue()
        with self._lock:
            self._watchers.append(mine)
            first = self.view
        try:
            yield {"view": first}
            while (part := mine.get()) is not None:
                yield {"change": part}
        finally:
            self._watchers.remove(mine)


@contextlib.contextmanager
def process(name: str) -> Iterator[int]:
    """A fake in a process of its own, which ends with its session; its pid."""
    with subprocess.Popen(
        [sys.executable, "-I", __file__, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as fake:
        assert fake.stdin is not None
        assert fake.stdout is not None
        try:
            fake.stdin.write(b'{"env": {}}\n')
            fake.stdin.close()
            assert fake.stdout.readline() == b"ready\n"
            yield fake.pid
        finally:
            fake.kill()


def main(name: str) -> None:
    """Be the supervisor process of session `name`."""
    paths = session_paths(name)
    how = os.environ.get("CREW_TEST_START", "ready")
    told = json.loads(sys.stdin.readline()) if how != "deaf" else {}
    if how == "error":
        print("error: the disk is full", flush=True)
        sys.exit(1)
    if how == "die":
        print("something went wrong", file=sys.stderr)
        sys.exit(1)
    for directory in (paths.root.parent, paths.root):
        ensure_private(directory)
    lock = os.open(paths.lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("taken", flush=True)
        return
    if how in ("deaf", "hang"):
        threading.Event().wait()
    fake = FakeSupervisor(paths, agent("boss"))
    heard = {"env": told["env"], "own": dict(os.environ), "cwd": str(Path.cwd())}
    # Before it serves: another client may have connected already.
    fake.handlers["ping"] = lambda _: {"pid": os.getpid(), "sid": os.getsid(0), **heard}
    with fake:
        print("ready", flush=True)
        fake._thread.join()


if __name__ == "__main__":
    main(sys.argv[1])
