"""`MessagesApi`: a stand-in for the Messages API that the real CLI talks to, in the test's process.

What it answers is scripted by markers in the newest prompt (markers.py); a prompt without markers
is answered `ok: ` and its first words. It remembers every request, and what was answered.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

from tests.claude import history
from tests.claude.markers import BadMarker, Hold, Script, Sleep, Usage, parse
from tests.claude.wire import Exchange, PeerLeft, Server

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """One request for an answer, as it came, and what became of it."""

    number: int
    at: float
    conversation: str
    model: str
    stream: bool
    messages: tuple[dict[str, Any], ...]
    prompts: tuple[str, ...]  # oldest first, as the model sees them
    newest: str  # the prompt that this request is about; "" where no prompt began the turn
    results: tuple[str, ...]  # what tools gave back, oldest first
    tools: tuple[str, ...]
    system: str
    # None and () until the answer is sent, and for good if it never was, whole.
    status: int | None = None
    answer: tuple[dict[str, Any], ...] = ()
    usage: Usage | None = None

    @property
    def text(self) -> str:
        """What the answer said."""
        return "".join(block.get("text", "") for block in self.answer)


class MessagesApi:
    """`with MessagesApi() as api:` serves on `api.url` until the block ends."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._requests: list[Request] = []
        self._released: set[str] = set()
        self._holding: list[str] = []
        self._faults: Counter[tuple[str, int, str]] = Counter()
        self._closing = False
        # What a turn is answered with that no prompt began: when something in the background has
        # ended, or the conversation is to be summed up.
        self.unprompted = ""
        self._server = Server(self._exchange)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="messages-api"
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End every answer and connection, then the server; nothing of it is left."""
        with self._changed:
            if self._closing:
                return
            self._closing = True
            self._changed.notify_all()
        self._server.shutdown()
        self._thread.join()
        self._server.hang_up()
        self._server.server_close()

    # -- what a test asks ------------------------------------------------------------------------

    @property
    def requests(self) -> tuple[Request, ...]:
        with self._changed:
            return tuple(self._requests)

    def wait_for(
        self, predicate: Callable[[Request], object], what: str, deadline: float = 30
    ) -> Request:
        """The first request for which `predicate` is true, also once it is answered."""
        return self._wait(lambda: self._first(predicate), what, deadline)

    def _first(self, predicate: Callable[[Request], object]) -> Request | None:
        return next((each for each in self._requests if predicate(each)), None)

    def wait_held(self, name: str, deadline: float = 30) -> None:
        """Wait until an answer has come to `[[hold NAME]]`."""
        self._wait(lambda: name in self._holding, f"an answer is held by {name!r}", deadline)

    def wait_let_go(self, name: str, deadline: float = 30) -> None:
        """Wait until no answer is held there: released, or its peer has left."""
        self._wait(lambda: name not in self._holding, f"nothing is held by {name!r}", deadline)

    def release(self, name: str) -> None:
        """Let go the answers that `[[hold NAME]]` holds, and those that will come to it."""
        with self._changed:
            self._released.add(name)
            self._changed.notify_all()

    def prompts(self, conversation: str | None = None) -> tuple[str, ...]:
        """Every prompt that arrived, in order. Histories repeat them: as often as in any one."""
        seen: Counter[tuple[str, str]] = Counter()
        found = []
        for request in self.requests:
            if conversation not in (None, request.conversation):
                continue
            here: Counter[tuple[str, str]] = Counter()
            for prompt in request.prompts:
                key = request.conversation, prompt
                here[key] += 1
                if here[key] > seen[key]:
                    seen[key] += 1
                    found.append(prompt)
        return tuple(found)

    def usage(self) -> dict[str, Usage]:
        """The tokens reported in answers that were sent whole, by model."""
        found: dict[str, Usage] = {}
        for request in self.requests:
            if request.usage is not None:
                found[request.model] = found.get(request.model, Usage()) + request.usage
        return found

    def _wait(self, look: Callable[[], T | None], what: str, deadline: float) -> T:
        with self._changed:
            end = time.monotonic() + deadline
            while not (found := look()):
                left = end - time.monotonic()
                if left <= 0:
                    brief = [(r.number, r.status, r.newest[:60]) for r in self._requests]
                    raise AssertionError(f"not within {deadline} s: {what}; requests: {brief}")
                self._changed.wait(left)
            return found

    # -- one request, in a thread of its own -----------------------------------------------------

    def _exchange(self, exchange: Exchange) -> None:
        body = exchange.body
        messages = body.get("messages") or []
        newest = history.newest(messages)
        with self._changed:
            number = len(self._requests)
            self._requests.append(
                Request(
                    number=number,
                    at=time.time(),
                    conversation=exchange.conversation,
                    model=body.get("model", ""),
                    stream=bool(body.get("stream")),
                    messages=tuple(messages),
                    prompts=history.prompts(messages),
                    newest=newest.prompt,
                    results=history.results(messages),
                    tools=tuple(tool.get("name", "") for tool in body.get("tools") or []),
                    system=history.text_of(body.get("system")),
                )
            )
            self._changed.notify_all()
        try:
            script = parse(newest.prompt or self.unprompted)
        except BadMarker as error:
            self._record(number, status=400)
            exchange.refuse(400, str(error), {})
            return
        key = exchange.conversation, newest.number, newest.prompt
        fault = script.fault
        if fault is not None and fault.times is not None:
            with self._changed:
                self._faults[key] += 1
                if self._faults[key] > fault.times:
                    script = replace(script, fault=None)
        try:
            self._answer(exchange, script, newest.called, number)
        except ConnectionError:
            exchange.drop()

    def _answer(self, exchange: Exchange, script: Script, called: int, number: int) -> None:
        steps = list(script.answer(called))
        # Until the first word, not even the head of the answer is sent.
        while steps and isinstance(steps[0], Hold | Sleep):
            self._pause(exchange, steps.pop(0))
        fault = script.fault
        if fault is not None and fault.kind == "error":
            self._record(number, status=int(fault.detail))
            exchange.refuse(int(fault.detail), None, script.headers)
            return
        exchange.answer(
            steps,
            script,
            pause=lambda step: self._pause(exchange, step),
            remember=lambda blocks, usage: self._record(
                number, status=200, answer=blocks, usage=usage
            ),
        )

    def _record(self, number: int, **known: Any) -> None:
        with self._changed:
            self._requests[number] = replace(self._requests[number], **known)
            self._changed.notify_all()

    def _pause(self, exchange: Exchange, step: object) -> None:
        """Wait as a step asks; raises PeerLeft where nobody is left to answer."""
        end = time.monotonic() + step.seconds if isinstance(step, Sleep) else float("inf")
        name = step.name if isinstance(step, Hold) else ""
        with self._changed:
            self._holding.append(name)
            self._changed.notify_all()
            try:
                while name not in self._released and (left := end - time.monotonic()) > 0:
                    if self._closing or exchange.peer_left():
                        raise PeerLeft
                    self._changed.wait(min(left, 0.05))
            finally:
                self._holding.remove(name)
                self._changed.notify_all()
