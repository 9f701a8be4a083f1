"""What each recorded screen of Claude Code shows, as a person sees it."""

from dataclasses import replace

from orchestrator.core.screen import Look

READY = Look(status="ready", draft="")
WORKING = Look(status="working", draft="")
RETRYING = replace(WORKING, doing="retrying")
# Neither the input line nor a dialog: nothing may be typed.
NOTHING = Look()


def each(names: str, look: Look) -> dict[str, Look]:
    return dict.fromkeys(names.split(), look)


def draft(text: str) -> Look:
    return Look(status="ready", draft=text)


def limit(seconds: float) -> Look:
    return Look(status="limited", seconds=seconds, draft="")


def numbered(*labels: str) -> tuple[tuple[str, str], ...]:
    return tuple((str(number), label) for number, label in enumerate(labels, 1))


def permission(text: str, *labels: str, name: str | None = None) -> Look:
    return Look(
        status="blocked",
        ask="permission",
        name=name,
        text=text,
        options=numbered(*labels),
        cursor=0,
    )


def bash(
    text: str, *, first: str = "Yes", second: str = "", third: str = "", who: str = ""
) -> Look:
    tip = 'Tip: auto mode handles these prompts for you — choose "switch to auto mode" below'
    return permission(
        f"Bash command{who} {tip} {text} Do you want to proceed?",
        first,
        second or "Yes, and always allow access to /home/dev/project from this project",
        third or "Yes, and switch to auto mode · auto mode handles these prompts for you",
        "No",
    )


EDITS = "Yes, and switch to accept edits (auto-approve file edits and common file"


def edit(text: str, *, rest: str = "") -> Look:
    return permission(text, "Yes", EDITS + rest, "No")


def question(text: str, *labels: str, cursor: int = 0) -> Look:
    return replace(permission(text, *labels), ask="question", cursor=cursor)


def dialog(text: str, *labels: str, name: str | None = None, cursor: int | None = None) -> Look:
    return Look(
        status="blocked",
        ask="dialog",
        name=name,
        text=text,
        options=numbered(*labels),
        menu=bool(labels),
        cursor=cursor,
    )


TRUST = dialog(
    "Accessing workspace: /home/dev/project Quick safety check: Is this a project you created or "
    "one you trust? (Like your own code, a well-known open source project, or work from your "
    "team). If not, take a moment to review what's in this folder first. Claude Code'll be able "
    "to read, edit, and execute files here. Security guide",
    "No, exit",
    "Yes, I trust this folder",
    name="trust",
    cursor=0,
)
API_KEY = dialog(
    "Detected a custom API key in your environment ANTHROPIC_API_KEY: "
    "sk-ant-...l-testing-0000000000 Do you want to use this API key?",
    "Yes",
    "No (recommended)",
    name="api key",
    cursor=1,
)
BYPASS = dialog(
    "WARNING: Claude Code running in Bypass Permissions mode In Bypass Permissions mode, Claude "
    "Code will not ask for your approval before running potentially dangerous commands. This "
    "mode should only be used in a sandboxed container/VM that has restricted internet access "
    "and can easily be restored if damaged. By proceeding, you accept all responsibility for "
    "actions taken while running in Bypass Permissions mode. "
    "https://code.claude.com/docs/en/security",
    "No, exit",
    "Yes, I accept",
    name="bypass permissions",
    cursor=0,
)
_ADDING = (
    "Adding a new directory: /home/dev/lib This session hasn't worked here before. Is this a "
    "directory you created or one you trust? Claude Code'll be able to read, edit, and execute "
    "files here. Its skills, commands, and agents load and can run commands, and so can the git "
    "settings of its repository. Your answer holds for this session."
)
_LASTS = (
    " Starting Claude Code in this directory and trusting it there lasts, and covers its whole "
    "repository or everything below it."
)
ADDING = dialog(
    f"{_ADDING} Security guide", "No, exit", "Yes, add it", name="add directory", cursor=0
)
ADDING_WIDE = replace(ADDING, text=f"{_ADDING}{_LASTS} Security guide")
MODEL = replace(
    dialog(
        "Select model Your pick is the default for new sessions. For other models, use --model.",
        "Default (recommended) ✔ Use the default model (currently Opus 5.5) ·",
        "Opus Opus 5.5 · Best for everyday, complex tasks ·",
        "Fable Fable 5.2 · Most capable for your hardest and",
        "Sonnet Sonnet 5.5 · Efficient for routine tasks ·",
        "Haiku Haiku 5.5 · Fastest for quick answers ·",
        cursor=0,
    ),
    menu=False,
)
MODEL_WIDE = replace(
    MODEL,
    options=numbered(
        "Default (recommended) ✔ Use the default model (currently Opus 5.5) · $4/$20 per Mtok",
        "Opus Opus 5.5 · Best for everyday, complex tasks · $4/$20 per Mtok",
        "Fable Fable 5.2 · Most capable for your hardest and longest-running tasks · "
        "$8/$40 per Mtok",
        "Sonnet Sonnet 5.5 · Efficient for routine tasks · $2/$10 per Mtok",
        "Haiku Haiku 5.5 · Fastest for quick answers · $0.10/$0.50 per Mtok ($0.50/$2.50 for "
        "prompts over 100k)",
    ),
)
TRUST_197 = replace(
    TRUST,
    options=numbered("Yes, I trust this folder", "No, exit"),
    menu=False,
)
COLOURS = ("Red", "Blue", "Type something.", "Chat about this")
SIZES = ("[ ] Large", "[ ] Huge", "[ ] Type something", "Chat about this")
WHICH = "Which sizes, of those that the shop has in stock at the moment?"
SCRIPT = [f"echo step {number}" for number in range(30)]


TOUCH = "touch /home/dev/project/x1 && echo done && tail -f /dev/null"
TOUCHED = "touch /home/dev/project/x1 commands"
IN_DEV = "Yes, and allow access to /dev and "
FILE = "Create file w.txt 1 a scripted line Do you want to create w.txt?"


# What a screen says, by its name; of those in several sizes without the size, where that makes no
# difference. Texts are compared without the way in which their lines are folded.
LOOKS: dict[str, Look] = {
    **dict.fromkeys(
        [
            "04-ready",
            "10-idle-ready",
            "13-idle-after-turn",
            "14c-permission-no",
            "16-after-tool",
            "18-question-answered",
            "19-interrupted-stream",
            "19c-interrupted-ctrlc",
            "21-error-400",
            "22-error-529-final",
            "22c-error-429-final",
            "22e-error-403-final",
            "22f-error-404-final",
            "22g-error-413-final",
            "22h-midfail",
            "24-compact-done",
            "24b-before-autocompact",
            "26b-background-shell",
            "27-statusline",
            "29-plan-approval",
            "30-named-session",
            "32-resumed",
            "40-after-big-paste",
            "41b-queue-drained",
            "41c-queue-escape",
            "after-a-turn",
            "after-background-agent",
            "background-shell",
            "compacted",
            "draft-cleared",
            "error-403",
            "error-413",
            "error-500",
            "idle",
            "interrupted",
            "shortcuts",
            "status-line",
        ],
        READY,
    ),
    **dict.fromkeys(
        [
            "11-waiting-first-byte",
            "12-streaming",
            "15-tool-running",
            "15b-tool-running-bypass",
            "24-compacting",
            "31-crashed-kill9",
            "60-stalled-stream",
            "background-agent",
            "compacting",
            "queued",
            "reduced-motion",
            "reduced-motion-waiting",
            "stalled",
            "status-line-working",
            "streaming",
            "tool-running",
            "waiting",
        ],
        WORKING,
    ),
    **each("20-retry-529 limit-first-attempt retrying", RETRYING),
    # A list below the input line that pushes it out of what is read; a draft that is taller than
    # the screen; what is typed is run by a shell; the CLI has left.
    **dict.fromkeys(["draft-command-200x50", "draft-tall", "shell-mode", "34-exit"], NOTHING),
    "23-rate-limit-429-retrying": limit(1),
    "limit": limit(3),
    "limit-60x40": limit(6),
    "limit-100x40": limit(4),
    "limit-250x40": limit(8),
    "2.1.197/limit-80x24": limit(17),
    "2.1.197/limit-200x50": limit(20),
    "usage-limit": Look(status="limited", draft=""),
    # -- drafts
    "25-subagent": draft(
        'sub [[tool Agent {"description":"do thing","prompt":"subprompt [[tool Bash: echo in-sub]] '
        "[[sleep 2]] [[say: sub"
    ),
    "draft": draft("a draft"),
    "draft-lines": draft("line one"),
    "draft-below-an-empty-row": draft("second row only"),
    "draft-pasted": draft("[Pasted text #1 +11 lines]"),
    "draft-command-80x24": draft("/co"),
    "escaped": draft("r [[error 429]] [[retry-after 30]]"),
    "queued-draft": replace(WORKING, draft="typed meanwhile"),
    **each("waiting-draft background-agent-draft", replace(WORKING, draft="meanwhile")),
    "50-v197-after-turn": draft("1"),
    # -- permissions
    "14-permission-bash": bash("Run a scripted command touch /home/dev/project/x1 && sleep 3"),
    "42-text-in-dialog": bash("Run a scripted command touch /home/dev/project/danger"),
    "permission-bash": bash("Run a scripted command touch /home/dev/project/x1 && echo done"),
    "permission-bash-again": bash(
        "Run a scripted command npm test -- --x This command requires approval",
        second="Yes, and don’t ask again for: npm test *",
    ),
    "permission-bash-long-200x50": replace(
        bash(""), text=" ".join([*SCRIPT[13:], "EOF", "Do you want to proceed?"])
    ),
    "permission-bash-long-80x24": replace(
        bash(""), text=" ".join([*SCRIPT[29:], "EOF", "Do you want to proceed?"])
    ),
    "permission-running": bash(f"Run a scripted command {TOUCH}", second=f"{IN_DEV}{TOUCHED}"),
    "permission-running-60x40": bash(
        f"Run a scripted command {TOUCH}",
        second=f"{IN_DEV}touch",
        third="Yes, and switch to auto mode · auto mode handles",
    ),
    "2.1.197/permission-bash": permission(
        f"Bash command {TOUCH} Run a scripted command Do you want to proceed?",
        "Yes",
        f"Yes, and allow access to dev/ and {TOUCHED}",
        "No",
    ),
    "permission-amended": bash("Run a scripted command touch a", first="Yes, use b instead"),
    "permission-subagent": bash(
        "Run a scripted command touch /home/dev/project/a", who=" · from the general-purpose agent"
    ),
    "permission-read": permission(
        "Read file Read(/etc/hostname) Do you want to proceed?",
        "Yes",
        "Yes, allow reading from /etc during this session",
        "No",
    ),
    "permission-edit-80x24": edit(
        "Edit file notes.txt 1 one 2 -two 2 +TWO 3 three "
        "Do you want to make this edit to notes.txt?"
    ),
    "permission-edit-200x50": edit(
        "Edit file notes.txt 1 one 2 -two 2 +TWO 3 three "
        "Do you want to make this edit to notes.txt?",
        rest=" commands) for this session (shift+tab)",
    ),
    "permission-write-80x24": edit(
        "Create file w.txt 1 written by the fake API Do you want to create w.txt?"
    ),
    "permission-write-200x50": edit(
        "Create file w.txt 1 written by the fake API Do you want to create w.txt?",
        rest=" commands) for this session (shift+tab)",
    ),
    "permission-file-60x40": permission(
        FILE, "Yes", "Yes, and switch to accept edits (auto-approve file", "No"
    ),
    "permission-file-100x40": edit(FILE, rest=" commands) for this"),
    "permission-file-250x40": edit(FILE, rest=" commands) for this session (shift+tab)"),
    "2.1.197/permission-write": permission(
        FILE, "Yes", "Yes, allow all edits during this session (shift+tab)", "No"
    ),
    "permission-write-elsewhere-80x24": edit(
        "Create file ../other/w.txt 1 written by the fake API Do you want to create w.txt?"
    ),
    "permission-write-elsewhere-200x50": edit(
        "Create file ../other/w.txt 1 written by the fake API Do you want to create w.txt?",
        rest=" commands) for this session; Yes, and always allow access to /home/dev/other for "
        "this session (shift+tab)",
    ),
    "permission-webfetch": permission(
        "Fetch Claude wants to fetch content from example.com url: https://example.com/ "
        "prompt: summarise Do you want to allow Claude to fetch this content?",
        "Yes",
        "Yes, and don't ask again for example.com",
        "No, and tell Claude what to do differently (esc)",
    ),
    "permission-workflow": permission(
        "Run a dynamic workflow? b 1 export const meta = {name: 'a', description: 'b'} 2 log('x') "
        "Dynamic workflows can use a lot of tokens quickly by running many subagents in parallel "
        "— which counts against your usage limit. Stop a running workflow at any time with "
        "/workflows, or disable dynamic workflows in /config.",
        "Yes, run it",
        "No",
    ),
    "permission-menu": replace(
        permission(
            "Create file ../.claude/plans/x.md 1 # Plan 2 1. do Auto mode can't check actions in "
            "this session, so this one needs your approval Do you want to create x.md?",
            "No",
            "Yes",
        ),
        menu=True,
    ),
    "plan-approval": permission(
        "Claude has written up a plan and is ready to execute. Would you like to proceed?",
        "Yes, and use auto mode",
        "Yes, manually approve edits",
        "Tell Claude what to change",
        name="plan",
    ),
    "plan-none": permission(
        "Exit plan mode? Claude wants to exit plan mode",
        "Yes, and switch to default (ask each time) for this session",
        "No",
        name="plan",
    ),
    # -- questions
    "17-question": question(
        "☐ Choice Which colour?", "Yes", "No", "Type something.", "Chat about this"
    ),
    "question": question("☐ Colour Which colour?", *COLOURS),
    **dict.fromkeys(
        ["question-two", "2.1.197/question"], question("☐ Choice Which colour?", *COLOURS)
    ),
    "question-typing": question(
        "☐ Colour Which colour?", "Red", "Blue", "green", "Chat about this", cursor=2
    ),
    "question-multi-select": question(f"← ☐ Size ✔ Submit → {WHICH}", "[ ] Small", *SIZES),
    "question-preview": question("☐ Layout Which layout?", "One", "Two"),
    "question-several": question("← ☐ Colour ☐ Size ✔ Submit → Which colour?", *COLOURS),
    "question-several-second": question(
        f"← ☒ Colour ☒ Size ✔ Submit → {WHICH}", "[✔] Small", *SIZES
    ),
    "question-several-review": question(
        f"← ☒ Colour ☒ Size ✔ Submit → Review your answers ● Which colour? → Red ● {WHICH} → Small",
        "Submit answers",
        "Cancel",
    ),
    # -- first run
    "02-trust-dialog": TRUST,
    "trust": TRUST,
    "02b-trust-dialog-yes": replace(TRUST, cursor=1),
    "trust-yes": replace(TRUST, cursor=1),
    "2.1.197/trust": TRUST_197,
    "2.1.197/api-key": replace(API_KEY, menu=False),
    "03-apikey-dialog": API_KEY,
    "api-key": API_KEY,
    "05-bypass-warning": BYPASS,
    "bypass": BYPASS,
    "06-add-dir-dialog": replace(
        ADDING_WIDE, text=ADDING_WIDE.text.replace("/home/dev/lib", "/home/dev/projectA")
    ),
    "add-directory-80x24": ADDING,
    "add-directory-200x50": ADDING_WIDE,
    # For half a second nothing is highlighted, and no key is taken.
    "add-directory-not-yet-80x24": replace(ADDING, options=(), menu=False, cursor=None),
    "add-directory-not-yet-200x50": replace(ADDING_WIDE, options=(), menu=False, cursor=None),
    "onboarding-theme": dialog(
        "Choose the text style that looks best with your terminal To change this later, run /theme",
        "Auto (match terminal)",
        "Dark mode",
        "Light mode",
        "Dark mode (colorblind-friendly)",
        "Light mode (colorblind-friendly)",
        "Dark mode (ANSI colors only)",
        "Light mode (ANSI colors only)",
        name="onboarding",
        cursor=0,
    ),
    "onboarding-notes": dialog("Press Enter to continue", name="onboarding"),
    "mcp-server": dialog(
        "New MCP server found in this project: files MCP servers may execute code or access "
        "system resources. All tool calls require approval. Learn more in the MCP documentation.",
        "Use this MCP server",
        "Use this and all future MCP servers in this project",
        "Continue without using this MCP server",
        name="mcp server",
        cursor=2,
    ),
    "imports": dialog(
        "Allow external CLAUDE.md file imports? This project's CLAUDE.md or .claude/rules imports "
        "files outside the current working directory. Never allow this for third-party "
        "repositories. External imports: /home/dev/other/rules.md Important: Only use Claude Code "
        "with files you trust. Accessing untrusted files may pose security risks "
        "https://code.claude.com/docs/en/security",
        "No, disable external imports",
        "Yes, allow external imports",
        name="imports",
        cursor=0,
    ),
    # -- what a person opens, also above the input line
    "auto-mode": dialog("Auto mode can't check actions in this session", name="auto mode"),
    **dict.fromkeys(
        ["menu-model-80x24", "menu-model-working-80x24", "menu-model-after-turn-80x24"], MODEL
    ),
    **dict.fromkeys(["menu-model-200x50", "menu-model-working-200x50"], MODEL_WIDE),
    "menu-config": dialog(
        "⌕ Search settings…",
        "Auto-compact on",
        "Idle compaction on",
        "Continue automatically at usage… on",
        "Switch models when a message is… Switch automatically ›",
        "Show tips on",
        "Reduce motion off",
        "Thinking mode on",
        "Thinking can't be turned off for Opus 5.5",
        "Session recap on",
        "Rewind code (checkpoints) on",
        cursor=0,
    ),
    "menu-permissions": dialog(
        "❯ Add a new rule… ↓ to navigate · ←/→ to switch · / to search · Esc to close"
    ),
    # Entries of two lines: not told apart from two of one.
    "menu-resume": dialog("project", "(session)", "4 seconds ago · HEAD · 1.5KB", cursor=0),
    "menu-rewind": dialog(
        "Rewind Restore the code and/or conversation to the point before… /resume "
        "33467cac-329a-48dc-b40d-c7ccb385b9b8 (previous session) /clear No code changes "
        "❯ (current) Enter to continue · Esc to cancel"
    ),
    "28-agents-view": dialog(
        "enter to return · space to reply · ctrl+x to remove · ? for shortcuts"
    ),
    "history-search": dialog("search prompts: ⏸ manual mode on"),
    "transcript": dialog(
        "Showing detailed transcript · ctrl+o to toggle · ctrl+e to show all verbose"
    ),
}
