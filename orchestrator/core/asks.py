"""How an agent CLI answers one question: the `[ask]` table of its definition. No I/O here.

By itself, not in `spec.py`: an answer from the cache needs this table and none of the others.
"""

from collections.abc import Mapping
from typing import Literal

from orchestrator.core.values import value


@value
class AskSpec:
    """How the CLI answers one question (`crew ask`): `command`, then each part that has a value.

    The prompt goes to its standard input. `ttl`: seconds for which an answer is given again.
    Placeholders: {python} and {package} in the command, {model} and {system} in theirs, {config} in
    `files`.
    """

    command: tuple[str, ...]
    model: tuple[str, ...] = ()
    system: tuple[str, ...] = ()
    # How what it prints is read.
    dialect: Literal["claude"]
    ttl: float = 86_400.0
    env: Mapping[str, str]
    # What its answers depend on besides: files that it takes in, and variables.
    files: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
