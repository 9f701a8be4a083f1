"""The Messages API's wire: HTTP/1.1 and server-sent events, as the CLI reads them."""

import contextlib
import itertools
import json
import re
import select
import socket
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.claude.markers import Call, Fault, Hold, Say, Script, Sleep, Step, Usage

Block = dict[str, Any]
Pause = Callable[[Hold | Sleep], None]
Remember = Callable[[tuple[Block, ...], Usage], None]

_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_WORDS = {
    401: "invalid x-api-key",
    429: "This request would exceed your rate limit.",
    500: "Internal server error",
    529: "Overloaded",
}
# A long text comes in no more pieces than this.
_PIECES = 200


class PeerLeft(ConnectionError):
    """There is nobody to answer any more."""


class Exchange(BaseHTTPRequestHandler):
    """One connection; `body` and `conversation` are those of the request that is answered."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "Server"
    body: dict[str, Any]

    @property
    def conversation(self) -> str:
        return self.headers.get("x-claude-code-session-id") or ""

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.path.partition("?")[0] != "/v1/messages":
            self.refuse(404, f"no such path: {self.path}", {})
            return
        self.body = json.loads(raw)
        self._size = len(raw)
        self.server.serve(self)

    def do_GET(self) -> None:
        self.refuse(404, f"no such path: {self.path}", {})

    do_HEAD = do_GET

    def peer_left(self) -> bool:
        """Whether the other side has closed: it sends nothing while it waits for an answer."""
        try:
            ready, _, _ = select.select([self.connection], [], [], 0)
            return bool(ready) and not self.connection.recv(1, socket.MSG_PEEK)
        except (OSError, ValueError):
            return True

    def drop(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    # -- answers ---------------------------------------------------------------------------------

    # What is sent is remembered before its last bytes go, so that whoever has read an answer finds
    # it remembered.

    def refuse(self, status: int, message: str | None, headers: dict[str, str]) -> None:
        error = {
            "type": _KINDS.get(status, "api_error"),
            "message": message or _WORDS.get(status, f"scripted error {status}"),
        }
        self._json(status, {"type": "error", "error": error}, headers)

    def answer(
        self, steps: Sequence[Step], script: Script, pause: Pause, remember: Remember
    ) -> None:
        """Send what the steps say; `remember` gets the answer's blocks and the tokens reported."""
        blocks = list(_blocks(steps, script))
        calls = any(isinstance(step, Call) for step in steps)
        usage = script.usage or Usage(self._size // 4, len(json.dumps(blocks)) // 4)
        stop = "tool_use" if calls else script.stop
        message: dict[str, Any] = {
            "id": _id("msg"),
            "type": "message",
            "role": "assistant",
            "model": self.body.get("model"),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {**_usage(usage), "output_tokens": 1},
        }
        if self.body.get("stream"):
            self._stream(message, steps, blocks, script, pause)
            delta = {"stop_reason": stop, "stop_sequence": None}
            self._event("message_delta", delta=delta, usage=_usage(usage))
            remember(tuple(blocks), usage)
            self._event("message_stop")
            self.wfile.write(b"0\r\n\r\n")
        else:
            for step in steps:
                if isinstance(step, Hold | Sleep):
                    pause(step)
            whole = {"content": blocks, "stop_reason": stop, "usage": _usage(usage)}
            remember(tuple(blocks), usage)
            self._json(200, {**message, **whole}, {})

    def _json(self, status: int, value: object, headers: dict[str, str]) -> None:
        data = json.dumps(value).encode()
        self._head(status, {"content-type": "application/json", "content-length": str(len(data))})
        for name, each in headers.items():
            self.send_header(name, each)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "request-id": _id("req")}.items():
            self.send_header(name, value)

    def _stream(
        self,
        message: dict[str, Any],
        steps: Sequence[Step],
        blocks: Sequence[Block],
        script: Script,
        pause: Pause,
    ) -> None:
        self._head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
        self.end_headers()
        self._event("message_start", message=message)
        pieces = [_pieces(step.text) for step in steps if isinstance(step, Say)]
        each = Sleep(script.slow / max(1, sum(map(len, pieces)))) if script.slow else None
        # A fault comes in the middle of the text; where there is none, before all else.
        fault_at = sum(map(len, pieces)) // 2 if script.fault else -1
        sent = itertools.count()
        index = itertools.count()
        if script.think:
            self._block(next(index), blocks[0], [("thinking", blocks[0]["thinking"])])
        text, calls = -1, iter(block for block in blocks if block["type"] == "tool_use")
        said = iter(pieces)
        if script.fault and not pieces:
            self._fail(script.fault, pause)
        for step in steps:
            match step:
                case Hold() | Sleep():
                    pause(step)
                case Say():
                    if text < 0:
                        text = next(index)
                        start = {"type": "text", "text": ""}
                        self._event("content_block_start", index=text, content_block=start)
                    else:
                        self._delta(text, "text", "\n")
                    for piece in next(said):
                        if next(sent) == fault_at and script.fault:
                            self._fail(script.fault, pause)
                        self._delta(text, "text", piece)
                        if each:
                            pause(each)
                case Call():
                    if text >= 0:
                        self._event("content_block_stop", index=text)
                        text = -1
                    block = next(calls)
                    given = [("input_json", json.dumps(block["input"]))]
                    self._block(next(index), block, given)
        if text >= 0:
            self._event("content_block_stop", index=text)

    def _block(self, index: int, block: Block, deltas: Sequence[tuple[str, str]]) -> None:
        thinks = block["type"] == "thinking"
        empty: Block = {"thinking": "", "signature": ""} if thinks else {"input": {}}
        start = {**block, **empty}
        self._event("content_block_start", index=index, content_block=start)
        for kind, value in deltas:
            self._delta(index, kind, value)
        if thinks:
            self._delta(index, "signature", block["signature"])
        self._event("content_block_stop", index=index)

    def _delta(self, index: int, kind: str, value: str) -> None:
        key = "partial_json" if kind == "input_json" else kind
        delta = {"type": f"{kind}_delta", key: value}
        self._event("content_block_delta", index=index, delta=delta)

    def _event(self, event: str, **data: object) -> None:
        text = f"event: {event}\ndata: {json.dumps({'type': event, **data})}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))

    def _fail(self, fault: Fault, pause: Pause) -> None:
        if fault.kind == "stall":
            pause(Sleep(float("inf")))
        if fault.kind == "sseerror":
            error = {"type": fault.detail or "overloaded_error", "message": "scripted error"}
            self._event("error", error=error)
        raise PeerLeft


def _blocks(steps: Sequence[Step], script: Script) -> Iterator[Block]:
    """The answer's blocks: thoughts, one text of all that is said, calls."""
    if script.think:
        thought = " ".join(["hm"] * script.think)
        yield {"type": "thinking", "thinking": thought, "signature": "c2NyaXB0ZWQ="}
    said = [step.text for step in steps if isinstance(step, Say)]
    if said:
        yield {"type": "text", "text": "\n".join(said)}
    for step in steps:
        if isinstance(step, Call):
            yield {"type": "tool_use", "id": _id("toolu"), "name": step.tool, "input": step.input}


def _pieces(text: str) -> list[str]:
    words = re.findall(r"\S+\s*|\s+", text) or [""]
    size = -(-len(words) // _PIECES)
    return ["".join(words[at : at + size]) for at in range(0, len(words), size)]


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write - usage.cache_write_1h,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        },
        "service_tier": "standard",
    }


def _id(kind: str) -> str:
    return f"{kind}_{uuid.uuid4().hex[:24]}"


class Server(ThreadingHTTPServer):
    """A thread for each connection; all have ended once it is closed."""

    daemon_threads = False
    request_queue_size = 256

    def __init__(self, serve: Callable[[Exchange], None]) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.serve = serve
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that left in mid-answer is no error: agents are interrupted and killed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def hang_up(self) -> None:
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
