"""Each defence is taken out in turn, and the test that stands for it must fail.

A line of the code is changed in a copy of the package; the named tests run against the copy. A
mutation that survives is a defence that no test stands for.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.counts import FULL, measured

ROOT = Path(__file__).parent.parent


class Mutation(NamedTuple):
    """`old` in `file` becomes `new`: then a test of `tests` named like `name` fails."""

    what: str
    file: str
    old: str
    new: str
    tests: str
    name: str = ""


CORE = "tests/core/test_reducer.py"
REPORTS = "tests/core/test_reports.py"
OUTBOX = "tests/core/test_outbox.py"
ANSWERS = "tests/core/test_answers.py"
FIRST_RUN = "tests/core/test_first_run.py"
DOUBTS = "tests/core/test_doubts.py"
CONVERSATIONS = "tests/sources/test_conversations.py"
MUTATIONS = (
    Mutation(
        "a late report changes nothing that is newer",
        "core/reports.py",
        "old = event.mono < agent.evidence.mono and not _is_first(agent, event)",
        "old = False",
        REPORTS,
        "any_order",
    ),
    Mutation(
        "reports of an earlier run say nothing",
        "core/reports.py",
        "if agent is None or team is None or agent.run != event.run:",
        "if agent is None or team is None:",
        REPORTS,
        "earlier_run",
    ),
    Mutation(
        "an agent cannot have itself launched with an option that it told as its id",
        "core/dialects.py",
        "isinstance(found, str) and _ID.fullmatch(found)",
        "isinstance(found, str)",
        "tests/sources/test_files_follow.py",
        "no_option_for_an_id",
    ),
    Mutation(
        "no text begins a record of the launch order",
        "launching.py",
        'if any("\\0" in record for record in records):',
        "if False:",
        "tests/tmux/test_launcher.py",
        "cannot_begin_a_record",
    ),
    Mutation(
        "a dialog that is half drawn is not told of",
        "speaking.py",
        "look.options and before is not None and look.dialog == before.dialog",
        "look.options",
        "tests/test_watchers.py",
        "once_it_stands",
    ),
    Mutation(
        "the dialog that comes after an answer is not told of half drawn",
        "answering.py",
        "now.options and last is not None and now.dialog == last.dialog",
        "now.options",
        "tests/test_answering.py",
        "once_it_is_drawn",
    ),
    Mutation(
        "an answer is not pressed on a request that came meanwhile",
        "answering.py",
        "        ask = self._asked()  # Another may have come while its dialog was waited for.\n",
        "",
        "tests/test_answering.py",
        "came_meanwhile",
    ),
    Mutation(
        "a hook that one look at the spool passed over is read before the next one",
        "sources/spool.py",
        "range(AGAIN if found else 0)",
        "range(0)",
        "tests/sources/test_files.py",
        "passed_over",
    ),
    Mutation(
        "a sub-agent's hooks are not the session's",
        "core/readings.py",
        "    if event.subagent:\n        return None\n",
        "",
        REPORTS,
        "sub_agents",
    ),
    Mutation(
        "nothing is typed to who is not ready",
        "core/outbox.py",
        "agent.status is not Status.READY or",
        "",
        OUTBOX,
        "who_works_or_asks",
    ),
    Mutation(
        "without proof nothing is typed twice",
        "core/outbox.py",
        'elif event.verdict == "absent" and message.attempts < ATTEMPTS:',
        'elif event.verdict in ("absent", "unknown") and message.attempts < ATTEMPTS:',
        OUTBOX,
        "never_typed_without_proof",
    ),
    Mutation(
        "what a CLI kept for later goes with its process",
        "speaking.py",
        '(found == "queued" and lives)',
        'found == "queued"',
        "tests/test_judging.py",
        "what_the_conversation_tells",
    ),
    Mutation(
        "what nobody has read yet is not judged",
        "speaking.py",
        "if lives and effect.tty is not None and _is_unread(effect.tty):",
        "if False:",
        "tests/test_judging.py",
        "nobody_has_read",
    ),
    Mutation(
        "a turn that is over may not be written down yet",
        "core/outbox.py",
        "words.at if words is not None and words.text != A_PROMPT else 0.0",
        "math.inf",
        "tests/core/test_unwritten.py",
        "once_its_words_are",
    ),
    Mutation(
        "a verdict counts once",
        "core/outbox.py",
        "if event.since not in (None, message.typed_at):",
        "if False:",
        "tests/core/test_unwritten.py",
        "counts_once",
    ),
    Mutation(
        "another prompt is no receipt",
        "core/receipts.py",
        "    if ours == got or _are_images(got, sent):",
        "    if ours in got:",
        OUTBOX,
        "another_prompt",
    ),
    Mutation(
        "what is compared is what is typed",
        "core/outbox.py",
        "text=clean_text(text),",
        "text=text,",
        OUTBOX,
        "what_is_compared",
    ),
    Mutation(
        "a crash loop ends",
        "core/agents.py",
        "if len(recent) >= policy.limit:",
        "if False:",
        CORE,
        "crash_loop",
    ),
    Mutation(
        "who outlived its pane is ended before its conversation goes on",
        "core/agents.py",
        "end_first=previous,",
        "end_first=None,",
        CORE,
        "loss_of_the_server or survivor or seemed_dead",
    ),
    Mutation(
        "the server's death is not the agents'",
        "core/agents.py",
        "by_server = recent and",
        "by_server = False and",
        CORE,
        "loss_of_the_server",
    ),
    Mutation(
        "a pane that nobody knows is closed",
        "core/recovery.py",
        "        if is_stray(step.world, pane):\n",
        "        if False:\n",
        CORE,
        "repeats_a_launch",
    ),
    Mutation(
        "a launch that was under way is adopted",
        "core/recovery.py",
        "if in_flight and pane is not None and pane.process is not None and not pane.dead:",
        "if False and pane is not None and pane.process is not None:",
        CORE,
        "nobody_heard_of",
    ),
    Mutation(
        "two answers press one key",
        "core/reducer.py",
        "if agent.answering is not None:\n        step.refuse",
        "if False:\n        step.refuse",
        CORE,
        "two_answers",
    ),
    Mutation(
        "an answer is for the request that was seen, and for none of the same words",
        "core/reducer.py",
        "event.hook is not None and event.hook != agent.ask.hook",
        "False",
        ANSWERS,
        "no_later_one",
    ),
    Mutation(
        "what was denied does not run",
        "core/readings.py",
        "and ask.tool and not ask.denied and not over:",
        "and ask.tool:",
        ANSWERS,
        "denied_is_not_shown",
    ),
    Mutation(
        "only the session's own folder is trusted",
        "core/reports.py",
        'or "".join(team.root.split()) not in "".join(agent.ask.text.split())',
        "",
        FIRST_RUN,
        "own_folder",
    ),
    Mutation(
        "an answer that is on its way is not given again",
        "core/lifecycle.py",
        "answering=agent.answering if ask and agent.ask and _same(ask, agent.ask) else None",
        "answering=None",
        FIRST_RUN,
        "is_trusted_when",
    ),
    Mutation(
        "the agent's own settings are not lost",
        "settings.py",
        "whole = merged(whole, read_given(text, agent.name, root))",
        "read_given(text, agent.name, root)",
        "tests/test_settings.py",
        "merged_in",
    ),
    Mutation(
        "a run's number is never used again",
        "core/agents.py",
        "        run=former,",
        "        run=0,",
        CORE,
        "old_team",
    ),
    Mutation(
        "no effect before its event is on disk",
        "runtime.py",
        "            self._retry_at = loop.time() + RETRY\n            return\n",
        "            self._retry_at = loop.time() + RETRY\n            self._run(effects)\n"
        "            return\n",
        "tests/test_runtime.py",
        "full_disk",
    ),
    Mutation(
        "a supervisor that was replaced writes nothing",
        "sinks/store.py",
        "if epoch != self._epoch:",
        "if False:",
        "tests/test_runtime.py",
        "replaced",
    ),
    Mutation(
        "a reused pid is not the process",
        "procfs.py",
        "start_of(process.pid) == process.start",
        "start_of(process.pid) is not None",
        "tests/sources/test_processes.py",
        "later_process or process_of",
    ),
    Mutation(
        "a paste cannot be broken out of",
        "core/paste.py",
        'return character in _KEPT_CONTROLS or unicodedata.category(character) != "Cc"',
        "return True",
        "tests/tmux/test_protocol.py",
        "clean",
    ),
    Mutation(
        "tokens that are read and not yet committed are not read again",
        "sources/conversations.py",
        "self._marks.get(real) or ",
        "",
        CONVERSATIONS,
        "counts_once",
    ),
    Mutation(
        "an answer that goes on under the next supervisor counts once",
        "sources/transcripts.py",
        "answers=answers)",
        "answers={})",
        CONVERSATIONS,
        "grows",
    ),
    Mutation(
        "a model without a price costs an unknown sum",
        "core/usage.py",
        "        if price is None:\n            return None\n",
        "        if price is None:\n            continue\n",
        "tests/core/test_usage.py",
        "unknown",
    ),
    Mutation(
        "a source that falls silent is named",
        "core/doubts.py",
        "        step.put(replace(agent, doubts={**new, **agent.doubts}))\n",
        "        pass\n",
        DOUBTS,
        "no_hook_told",
    ),
    Mutation(
        "a doubt ends with the next word of its source",
        "core/doubts.py",
        "    if source not in agent.doubts:\n        return agent\n",
        "    return agent\n",
        DOUBTS,
        "ends_the_doubt",
    ),
    Mutation(
        "a command of the CLI itself is no silent hook",
        "core/doubts.py",
        "agent.status is Status.READY and typed and last",
        "agent.status is Status.READY and last",
        DOUBTS,
        "command_of_the_cli",
    ),
    Mutation(
        "a status file that is gone outvotes nobody",
        "core/doubts.py",
        '    step.put(replace(agent, said={**agent.said, "status": gone}))\n',
        "    del gone\n",
        DOUBTS,
        "file_that_goes_in_a_turn",
    ),
    Mutation(
        "a status file that is not kept up outvotes nobody",
        "core/reports.py",
        "return at >= agent.turn_began and event.at < at + doubts.BEFORE",
        "return at >= agent.turn_began",
        DOUBTS,
        "not_kept_up",
    ),
    Mutation(
        "a late hook is outvoted by the status file",
        "core/reports.py",
        "        step.deadline(key, event.mono + late + OUTVOTED)\n",
        "        pass\n",
        "tests/core/test_late_hooks.py",
        "late_hook_tells_of_is_none",
    ),
    Mutation(
        "without its status file the screen tells",
        "core/readings.py",
        'is_informed(cli) and "status" not in agent.doubts',
        "is_informed(cli)",
        DOUBTS,
        "the_screen_tells",
    ),
    Mutation(
        "a screen says nothing of who is ready",
        "core/readings.py",
        "    if agent.status not in (Status.WORKING, Status.LIMITED):\n        return None\n",
        "",
        DOUBTS,
        "who_is_ready",
    ),
    Mutation(
        "any report is a movement",
        "core/reports.py",
        "quiet_since=agent.quiet_since if still else None)",
        "quiet_since=agent.quiet_since)",
        DOUBTS,
        "any_report_is_a_movement",
    ),
    Mutation(
        "who moves is not stalled",
        "checks.py",
        "max(written, phase.evidence.at, *told)",
        "max(phase.evidence.at, *told)",
        "tests/test_checks.py",
        "whoever_moves",
    ),
    Mutation(
        "who stands still is watched for a movement",
        "checks.py",
        "        self._terminals.arm(name, phase.tty)\n        quiet = ",
        "        quiet = ",
        "tests/test_checks.py",
        "its_next_write",
    ),
    Mutation(
        "a spool that is made anew is watched again",
        "sources/watches.py",
        "ARRIVALS = (FileCreatedEvent, _Gone)",
        "ARRIVALS = (FileCreatedEvent,)",
        "tests/sources/test_files_watch.py",
        "told_after",
    ),
    Mutation(
        "a pattern holds for its versions",
        "core/versions.py",
        "if holds_for(each, taken))",
        "if True)",
        "tests/core/test_versions.py",
        "known_version_is_read_as_itself",
    ),
    Mutation(
        "an unknown version is read as the nearest",
        "core/versions.py",
        "if number <= wanted]",
        "if number < wanted]",
        "tests/core/test_versions.py",
        "test_nearest",
    ),
    Mutation(
        "a status file that goes is told of",
        "sources/status_files.py",
        "        if self._last is None:\n            return None\n        self._last = None\n",
        "        return None\n",
        "tests/sources/test_cures.py",
        "status_file_that_goes",
    ),
    Mutation(
        "a snapshot that failed is taken again",
        "sources/ptys.py",
        "TRY_EVERY if followed.failed else None",
        "None",
        "tests/sources/test_cures.py",
        "taken_again",
    ),
    Mutation(
        "a spool that cannot be written is named",
        "sources/files.py",
        "if seen.slow or seen.wrong:",
        "if seen.slow:",
        "tests/sources/test_cures.py",
        "cannot_write",
    ),
    Mutation(
        "an end that is told behind a look is the end",
        "core/reports.py",
        "if old and not _is_end(agent, event, reading):",
        "if old:",
        DOUBTS,
        "while_a_snapshot_was_taken",
    ),
    Mutation(
        "a queued prompt is a turn of its own",
        "core/readings.py",
        'case "Stop" if agent.queued and not _filed_end(agent, cli):',
        'case "Stop" if False:',
        REPORTS,
        "that_was_queued",
    ),
    Mutation(
        "PSS is read for the agent that is shown alone",
        "sources/processes.py",
        "with_pss=name in shown",
        "with_pss=True",
        "tests/sources/test_processes.py",
        "that_a_tree_shares_counts_once",
    ),
    Mutation(
        "an error that ends a turn is no interrupt",
        "core/reports.py",
        "    if reading is CUT and agent.status in IN_TURN:\n",
        "    if False:\n",
        REPORTS,
        "told_by_the_status_file_alone",
    ),
    Mutation(
        "who dies of a lost tmux server has not crashed",
        "core/agents.py",
        "    if agent.status is Status.STARTING and agent.waiting_for:\n        # It was lost",
        "    if False:\n        # It was lost",
        CORE,
        "dies_of_it",
    ),
    Mutation(
        "a turn that is read behind its end has its last words",
        "core/reports.py",
        '(just and agent.evidence.source == "status")',
        "False",
        "tests/core/test_late_hooks.py",
        "last_words",
    ),
    Mutation(
        "a change of another screen is never shown",
        "core/frames.py",
        'fits = _sum(lines) == change["sum"]',
        "fits = True",
        "tests/core/test_frames.py",
        "of_another_screen",
    ),
    Mutation(
        "a fact between two samples keeps both",
        "runtime.py",
        "        if sample is None:\n            self._samples.clear()\n",
        "        if sample is None:\n            pass\n",
        "tests/test_loop_load.py",
        "fact_between",
    ),
    Mutation(
        "hooks stay in their files until there is room",
        "sources/files.py",
        "            await self._room()\n",
        "",
        "tests/test_loop_load.py",
        "until_there_is_room",
    ),
    Mutation(
        "a server that throws us out is asked ever more seldom",
        "tmux/link.py",
        "await asyncio.sleep(first)",
        "await asyncio.sleep(min(first, 0.05))",
        "tests/tmux/test_control.py",
        "seldom",
    ),
    Mutation(
        "a screen that did not arrive whole is none",
        "tmux/control.py",
        "if sizes != (str(len(data)).encode(),):",
        "if False:",
        "tests/tmux/test_control.py",
        "arrive_whole",
    ),
    Mutation(
        "many screens that move share the looks",
        "sources/ptys.py",
        "max(self._pace, len(self._restless) / AT_MOST)",
        "self._pace",
        "tests/sources/test_ptys_screens.py",
        "share_the_looks",
    ),
    Mutation(
        "a file that grows beside the blueprint wakes nobody",
        "sources/watches.py",
        "((edits, EDITS), (files, FILES))",
        "((edits, FILES), (files, FILES))",
        "tests/sources/test_files_watch.py",
        "beside_the_blueprint",
    ),
    Mutation(
        "without a descriptor a hook stays where it is",
        "sources/spool.py",
        "if error.errno in STARVED:",
        "if False:",
        "tests/sources/test_files.py",
        "without_a_descriptor",
    ),
    Mutation(
        "a question is as urgent as who waits for it",
        "oneshot/slots.py",
        "if urgency.rank != rank:",
        "if False:",
        "tests/oneshot/test_slots.py",
        "more_urgent",
    ),
)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutation", MUTATIONS if FULL else MUTATIONS[:3], ids=lambda m: m.what)
def test_a_defence_that_is_taken_out_is_missed(mutation: Mutation, tmp_path: Path) -> None:
    for part in ("orchestrator", "tests", "agents"):
        ignore = shutil.ignore_patterns("__pycache__", "end_to_end", "payloads", "screens")
        shutil.copytree(ROOT / part, tmp_path / part, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    file = tmp_path / "orchestrator" / mutation.file
    text = file.read_text()
    assert text.count(mutation.old) == 1, "the line that is changed is there, once"
    file.write_text(text.replace(mutation.old, mutation.new))
    options = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:randomly"]
    options += ["--hypothesis-profile", "unshrunk"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, mutation.tests, "-k", mutation.name],
        cwd=tmp_path,
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("PYTEST")},
            "PYTHONPATH": str(tmp_path),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 1, f"it survived:\n{run.stdout[-2000:]}{run.stderr[-500:]}"
    assert " failed" in run.stdout
    measured(f"missed: {mutation.what}", 1, "")
