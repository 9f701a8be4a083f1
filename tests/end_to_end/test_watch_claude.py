"""The dashboard before a real CLI: what it asks is answered in place, and its words come live."""

import pytest

from tests.end_to_end.claude_team import Claude
from tests.end_to_end.looks import up
from tests.end_to_end.test_claude_answers import BOSS, made, results
from tests.end_to_end.watching import dashboard, read, see, write


@pytest.mark.timeout(240)
def test_a_turn_with_all_its_questions(claude: Claude) -> None:
    up(claude, BOSS)
    with dashboard(claude.crew, 120, 45) as screen:
        screen.type("s")
        see(screen, "message to boss")
        tools = f"[[tool Bash: touch a]] [[tool Write: {claude.root / 'b'}]]"
        words = "[[say: the first words]] [[say: and]] [[hold later]] [[say: the last words]]"
        write(screen, f"{tools} [[ask: Which colour?|Red|Green|Blue]] {words}")
        screen.type("C-s")

        read(screen, "NEEDS YOU", "? boss asks to run Bash: touch a", "1  Yes")
        screen.type("y")
        see(screen, "✓ answered boss: yes")
        read(screen, f"? boss asks to Write {claude.root / 'b'}", "1  Yes")
        screen.type("n")
        see(screen, "no to boss, because")
        write(screen, 'not [red] before "noon" 😀')
        screen.type("Enter")
        see(screen, "✓ answered boss: no")
        read(screen, "Which colour?", "1  Red", "3  Blue")
        assert 'not [red] before "noon" 😀' in results(claude, "boss")[-1]
        screen.type("2")
        see(screen, "✓ answered boss: Green")

        claude.api.wait_held("later")
        see(screen, "● working", "\n● the first words", gone="NEEDS YOU")
        claude.api.release("later")
        see(screen, "○ ready", "\n  the last words")
        assert '"Which colour?"="Green"' in results(claude, "boss")[-1]
        assert made(claude, "ab") == {"a"}
