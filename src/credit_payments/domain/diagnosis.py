"""What was found when a system was examined, and what to do about it.

Nothing in here is secret or personal: names of settings and where they came from, never values.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import attrs

Level: TypeAlias = Literal["ok", "warning", "problem"]

LEVELS: tuple[Level, ...] = ("ok", "warning", "problem")
"""From the best to the worst."""


@attrs.frozen
class Finding:
    """One thing that was looked at.

    Attributes:
        name: what it is, dotted, the same in every release: `database.indexes`.
        level: `"ok"`; `"warning"` for what a person should know; `"problem"` for what loses
            something, or does not work.
        said: what was found, in words.
        advice: what to do, where that is not nothing; it may have several lines.
    """

    name: str
    level: Level
    said: str
    advice: str | None = None


@attrs.frozen
class Diagnosis:
    """All that was found, in the order in which it was looked at.

    >>> Diagnosis((Finding("database", "ok", "SQLite answers"),)).level
    'ok'
    """

    findings: tuple[Finding, ...]

    @property
    def level(self) -> Level:
        """That of the worst finding."""
        return max((one.level for one in self.findings), key=LEVELS.index, default="ok")

    def count(self, level: Level) -> int:
        """How many findings are of a level."""
        return sum(one.level == level for one in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain data, fit for JSON."""
        return {"level": self.level, "findings": [attrs.asdict(one) for one in self.findings]}


def ok(name: str, said: str) -> Finding:
    """Nothing is to be done."""
    return Finding(name, "ok", said)


def warning(name: str, said: str, advice: str) -> Finding:
    """A person should know."""
    return Finding(name, "warning", said, advice)


def problem(name: str, said: str, advice: str) -> Finding:
    """Something is lost, or does not work, until somebody does something."""
    return Finding(name, "problem", said, advice)
