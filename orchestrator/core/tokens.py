"""How many tokens something took, by what they cost. Pure.

By itself because an answer from the cache has them too, and is told before the rest of what is
known of usage (`usage.py`) were imported.
"""

from orchestrator.core.values import value


@value
class Tokens:
    input: int = 0
    output: int = 0
    cache_write: int = 0
    cache_read: int = 0

    def __add__(self, other: "Tokens") -> "Tokens":
        return Tokens(
            input=self.input + other.input,
            output=self.output + other.output,
            cache_write=self.cache_write + other.cache_write,
            cache_read=self.cache_read + other.cache_read,
        )

    def __sub__(self, other: "Tokens") -> "Tokens":
        return Tokens(
            input=self.input - other.input,
            output=self.output - other.output,
            cache_write=self.cache_write - other.cache_write,
            cache_read=self.cache_read - other.cache_read,
        )

    def most(self, other: "Tokens") -> "Tokens":
        """The larger of each."""
        return Tokens(
            input=max(self.input, other.input),
            output=max(self.output, other.output),
            cache_write=max(self.cache_write, other.cache_write),
            cache_read=max(self.cache_read, other.cache_read),
        )


NONE = Tokens()
