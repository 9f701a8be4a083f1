"""The dashboard's keys: each becomes the line that the command line would send."""

from collections.abc import Iterable
from functools import partial
from typing import ClassVar

from textual import events
from textual.app import SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Input, TextArea

from orchestrator.dashboard import model
from orchestrator.dashboard.feeds import TABS
from orchestrator.dashboard.lines import Line
from orchestrator.dashboard.orders import Orders
from orchestrator.dashboard.team import SORTS
from orchestrator.dashboard.widgets.panel import Panel
from orchestrator.dashboard.widgets.prompts import Entry, Help

# What the footer shows, the most wanted first: the key that is pressed for it, its name there,
# and what it does. Behind it: what the help and the palette say.
KEYS = (
    ("enter", "enter", "attach", "go to its window, as `crew attach` (also: a)"),
    ("s", "s", "send", "send it a message"),
    ("y", "y", "yes", "answer what it asks with yes; 1 to 9 choose an option"),
    ("n", "n", "no", "answer with no; you are asked why, where it can be told"),
    ("space", "space", "next", "to the next who needs you"),
    ("i", "i", "interrupt", "stop its turn; it goes on to live"),
    ("question_mark", "?", "help", "show the keys"),
    ("q", "q", "quit", "leave; the team runs on"),
    ("R", "R", "restart", "start it again, with its conversation; asks once"),
    ("X", "X", "stop", "end it; asks once"),
    ("slash", "/", "filter", "show only agents with these words"),
    ("o", "o", "sort", "order the table by something else"),
    ("tab", "tab", "panel", "go to the next panel"),
    ("left", "←→", "tabs", "its screen, its events, its messages"),
    ("t", "t", "answer", "answer a question in your own words"),
    ("d", "d", "dark", "dark or light"),
    ("ctrl+p", "^p", "palette", "every command by name"),
)
COMMANDS = (
    ("enter,a", "attach"),
    ("s", "send"),
    ("y", "answer('y')"),
    ("n", "deny"),
    *((str(digit), f"answer('{digit}')") for digit in range(1, 10)),
    ("t", "own_answer"),
    ("i", "interrupt"),
    ("R", "restart"),
    ("X", "stop"),
    ("slash", "filter"),
    ("o", "sort"),
    ("question_mark", "help"),
    ("d", "dark"),
    ("up,k", "move(-1)"),
    ("down,j", "move(1)"),
    ("pageup", "move(-10)"),
    ("pagedown", "move(10)"),
    ("home", "move(-10000)"),
    ("end", "move(10000)"),
    ("space", "next_need"),
    ("left", "turn(-1)"),
    ("right", "turn(1)"),
    ("escape", "leave"),
    ("q,ctrl+c", "close"),
)
ACTIONS = frozenset(action.partition("(")[0] for _, action in COMMANDS)
# Those that do nothing where nothing is asked; a question is answered in words or by a number.
ANSWERS = frozenset({"y", "n", "t"})
# In a session that is down, and where there is no agent.
FOR_ONE = frozenset({"enter", "s", "i", "R", "X"})
FOR_ANY = FOR_ONE | {"slash", "o", "tab", "left"}


class Dashboard(Orders):
    """`crew watch`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        # With priority they are done in the order in which the keys came, each before the next
        # one is looked at: what follows an `s` is typed into the message, and no command.
        Binding(key, action, show=False, priority=True)
        for key, action in COMMANDS
    ]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """No command while a person types, or something else is in front."""
        typing = len(self.screen_stack) > 1 or isinstance(self.focused, Input | TextArea)
        return not (typing and action in ACTIONS)

    # -- looking ----------------------------------------------------------------------------------

    def action_move(self, by: int) -> None:
        """To another row of the panel that has the keyboard."""
        if self.focused is self.panels["detail"]:
            self.panels["detail"].scroll_relative(y=by, animate=False)
            return
        if self.focused is self.needy and self.found:
            keys = [need.key for need in self.found]
            at = keys.index(self.need) if self.need in keys else 0
            need = self.found[max(0, min(len(keys) - 1, at + by))]
            self.choose(need.agent, need.key)
        elif names := self.team.names:
            at = names.index(self.chosen) if self.chosen in names else -1
            self.choose(names[max(0, min(len(names) - 1, at + by))])
        self.paint_now()

    def action_next_need(self) -> None:
        """To the next who needs a person, and round again."""
        keys = [need.key for need in self.found]
        if not keys:
            self.tell("nobody needs you")
            return
        need = self.found[(keys.index(self.need) + 1) % len(keys) if self.need in keys else 0]
        self.choose(need.agent, need.key)
        self.paint_now()

    def action_turn(self, by: int) -> None:
        """To another tab of the agent in hand."""
        self.tab = TABS[(TABS.index(self.tab) + by) % len(TABS)]
        self.refollow()
        self.paint_now()

    def action_close(self) -> None:
        """Leave the dashboard; the team runs on."""
        self.exit()

    def action_sort(self) -> None:
        orders = list(SORTS)
        self.sort = orders[(orders.index(self.sort) + 1) % len(orders)]
        self.tell(f"ordered by {self.sort}")
        self.paint_now()

    async def action_filter(self) -> None:
        """Type words: the table follows; escape shows everybody again."""

        def changed(words: str) -> None:
            self.wanted = words
            self.paint_now()
            # A key is for an agent that is seen.
            if self.team.names and self.chosen not in self.team.names:
                self.choose(self.team.names[0])
                self.paint_now()

        await self.prompt(
            Entry(
                "show only agents with",
                self.wanted,
                keep=changed,
                typed=changed,
                left=partial(changed, ""),
            )
        )

    async def action_help(self) -> None:
        await self.push_screen(Help([(shown, about) for _, shown, _, about in KEYS]))

    def action_dark(self) -> None:
        self.theme = "textual-dark" if not self.current_theme.dark else "textual-light"

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        if event.widget is self.needy and self.need is None and self.found:
            self.action_next_need()

    def on_panel_clicked(self, clicked: Panel.Clicked) -> None:
        """A click takes in hand; the answer of a need that is in hand already, it gives."""
        match clicked.panel.id:
            case "team":
                self._clicked_agent(clicked)
            case "needs":
                if (line := self.needy.line_at(clicked.index)) is None:
                    return
                given = line.choice if line.need.key == self.need else None
                self.choose(line.need.agent, line.need.key)
                if given is not None:
                    self.answer(given.send)
            case "tabs":
                self.action_turn(1)
            case "footer":
                self._clicked_key(clicked.column)
        self.paint_now()

    def _clicked_agent(self, clicked: Panel.Clicked) -> None:
        name = self.team.name_at(clicked.index)
        if name is None:
            self.action_sort()  # the head
            return
        self.choose(name)
        if clicked.twice:
            self.action_attach()

    def _clicked_key(self, column: int) -> None:
        keys = self._keys()
        _, places = model.footer([shown for _, shown in keys], self.size.width - 1)
        for (key, _), (start, end) in zip(keys, places, strict=False):
            if start <= column - 1 < end:
                self.simulate_key(key)

    def footer(self, columns: int) -> Line:
        shown = [shown for _, shown in self._keys()]
        return ((" ", ""), *model.footer(shown, columns - 1)[0])

    def _keys(self) -> list[tuple[str, tuple[str, str]]]:
        """The keys that do something now, with what the footer says of them."""
        agent = model.agent_of(self.view, self.chosen)
        ask = (agent or {}).get("ask") or {}
        question = ask.get("kind") == "question"
        idle = ANSWERS - ({"t"} if question else {"y", "n"} if ask else set())
        if self.view is None or agent is None:
            idle = idle | FOR_ANY
        elif self.view["state"] == "down":
            idle = idle | FOR_ONE
        if not self.found:
            idle = idle | {"space"}
        rows = [(key, (shown, what)) for key, shown, what, _ in KEYS if key not in idle]
        # The key for own words is wanted where a question is asked, and nowhere else.
        return sorted(rows, key=lambda row: (row[0] not in ("enter", "s"), row[0] != "t"))

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The palette: the keys by name."""
        for key, _, what, about in KEYS[:-1]:
            yield SystemCommand(what.capitalize(), about, lambda key=key: self.simulate_key(key))
        yield SystemCommand("Theme", "choose other colours", self.action_change_theme)
