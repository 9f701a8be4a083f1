"""The program of a CLI that prints what Claude's would: it knows the standard library alone.

What it does is in brackets in the prompt, or in the file `$STANDIN/now`:

    [say TEXT]       answer with this, instead of `answer NUMBER`, the number of the run
    [hold NAME]      wait between the two pieces of the answer until `$STANDIN/NAME` exists
    [child]          leave `sleep` running, in a process session of its own
    [tool]           use a tool
    [status CODE]    be refused with this HTTP status
    [cut]            die between the two pieces
    [exit CODE]      print nothing but an error, `broken`, and end with this status

Those three take ` xN` at their end: only in the first N runs. `$STANDIN/runs` has a line of JSON
for each run.
"""

import json
import os
import re
import sys
import time

PLACE = os.environ.get("STANDIN", "")


def say(**event: object) -> None:
    print(json.dumps(event), flush=True)


def delta(text: str) -> None:
    part = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}}
    say(type="stream_event", event=part)


def noted(prompt: str) -> int:
    """Note this run; its number."""
    run = {
        "pid": os.getpid(),
        "asker": os.getppid(),
        "prompt": prompt,
        "arguments": sys.argv[1:],
        "directory": os.getcwd(),  # noqa: PTH109 - quicker
        "environment": list(os.environ),
        "children": [],
    }
    if "[child]" in prompt:
        import subprocess

        run["children"] = [subprocess.Popen(["sleep", "1000"], start_new_session=True).pid]
    with open(f"{PLACE}/runs", "ab+", buffering=0) as file:  # noqa: PTH123 - quicker
        file.write(f"{json.dumps(run)}\n".encode())
        file.seek(0)
        return file.read().count(b"\n")


def main() -> int:
    if sys.argv[1:] == ["--version"]:
        print("1.0 (stand-in)")
        return 0
    prompt = sys.stdin.buffer.read().decode()
    number = noted(prompt)
    try:
        with open(f"{PLACE}/now") as file:  # noqa: PTH123 - quicker
            prompt = file.read()
    except FileNotFoundError:
        pass

    def told(marker: str) -> str | None:
        found = re.search(rf"\[{marker}(?: (.*?))??(?: x(\d+))?\]", prompt, re.DOTALL)
        if found is None or (found[2] and number > int(found[2])):
            return None
        return found[1] or ""

    if (status := told("exit")) is not None:
        print("broken", file=sys.stderr)
        return int(status)
    say(type="system", subtype="init")
    if (status := told("status")) is not None:
        refused = f"API Error: {status} refused"
        say(type="result", subtype="success", is_error=True, result=refused,
            api_error_status=int(status), terminal_reason="api_error")  # fmt: skip
        return 1
    text = told("say") or f"answer {number}"
    half = len(text) - 1
    given = sys.argv[1:]
    model = given[given.index("--model") + 1] if "--model" in given else "standin-1"
    say(type="stream_event", event={"type": "message_start", "message": {"model": model}})
    delta(text[:half])
    if (name := told("hold")) is not None:
        while not os.path.exists(f"{PLACE}/{name}"):  # noqa: PTH110 - quicker
            time.sleep(0.01)
    if told("cut") is not None:
        return 1
    delta(text[half:])
    content = [{"type": "text", "text": text}]
    if told("tool") is not None:
        content.insert(0, {"type": "tool_use", "name": "Read"})
    say(type="assistant", message={"model": model, "content": content})
    used = {"inputTokens": 10, "outputTokens": 5, "cacheReadInputTokens": 3}
    say(type="result", subtype="success", is_error=False, result=text, total_cost_usd=0.25,
        session_id=f"conversation-{number}", modelUsage={model: used})  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
