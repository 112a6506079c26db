"""The function from money to credits of one currency, and its exact inverse.

A curve is a row of straight pieces, `credits = (slope * minor + offset) / denominator`, all of them
integers. So a conversion is a search for the piece, one multiplication, one addition and one
division that rounds down; and a curve that never falls can be read backwards just as exactly.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from fractions import Fraction

import attrs

from credit_payments.domain import money
from credit_payments.errors import ConfigurationError

__all__ = ["Line", "PriceCurve", "check_never_falls", "line_at"]


@attrs.frozen
class Line:
    """`slope * minor + offset` credits, exactly, from `start_minor` up to the next line.

    `rule` says in words what the line stands for.
    """

    start_minor: int
    slope: Fraction
    offset: Fraction
    rule: str

    def at(self, minor: int) -> Fraction:
        """The exact number of credits at `minor`, before any rounding."""
        return self.slope * minor + self.offset


def line_at(lines: Sequence[Line], minor: int) -> Line:
    """The line that holds at `minor`; `lines` are ordered by their start."""
    return lines[max(0, bisect_right(lines, minor, key=lambda line: line.start_minor) - 1)]


def check_never_falls(lines: Sequence[Line], unit: money.Currency, *, param: str) -> None:
    """Refuse lines by which a larger amount would buy fewer credits.

    Every slope is positive, so only the joints between lines can fall.

    Raises:
        ConfigurationError: naming the first amount at which it does.
    """
    for before, after in itertools.pairwise(lines):
        last_minor = after.start_minor - unit.step_minor
        if after.at(after.start_minor) < before.at(last_minor):
            amount = money.format_amount(after.start_minor, unit)
            raise ConfigurationError(
                f"{param}: {amount} would buy fewer credits than a smaller amount.", param=param
            )


@attrs.frozen
class _Piece:
    """A line over one common denominator."""

    slope: int
    offset: int
    denominator: int

    @classmethod
    def of(cls, line: Line) -> _Piece:
        denominator = math.lcm(line.slope.denominator, line.offset.denominator)
        return cls(
            slope=line.slope.numerator * (denominator // line.slope.denominator),
            offset=line.offset.numerator * (denominator // line.offset.denominator),
            denominator=denominator,
        )

    def credits(self, minor: int) -> int:
        # The one place where credits are rounded: down, once, at the very end.
        return (self.slope * minor + self.offset) // self.denominator


@attrs.frozen
class PriceCurve:
    """Everything configured for one currency. Build it with `PriceCurve.build`."""

    unit: money.Currency
    _rules: tuple[str, ...]
    _starts: tuple[int, ...]
    _pieces: tuple[_Piece, ...]
    _plain_pieces: tuple[_Piece, ...]
    _last_credits: tuple[int, ...]

    @classmethod
    def build(
        cls, unit: money.Currency, plain: Sequence[Line], with_bonuses: Sequence[Line]
    ) -> PriceCurve:
        """Make a curve of `with_bonuses`; `plain` is the same without them, with fewer joints.

        Neither may fall (`check_never_falls`): reading backwards relies on it.
        """
        starts = tuple(line.start_minor for line in with_bonuses)
        pieces = tuple(_Piece.of(line) for line in with_bonuses)
        last_minors = [start - unit.step_minor for start in starts[1:]] + [unit.maximum_minor]
        return cls(
            unit=unit,
            rules=tuple(line.rule for line in with_bonuses),
            starts=starts,
            pieces=pieces,
            plain_pieces=tuple(_Piece.of(line_at(plain, start)) for start in starts),
            last_credits=tuple(
                piece.credits(minor) for piece, minor in zip(pieces, last_minors, strict=True)
            ),
        )

    def credits(self, minor: int) -> int:
        """How many credits `minor` buys, bonus included, rounded down."""
        return self._pieces[self._index(minor)].credits(minor)

    def plain_credits(self, minor: int) -> int:
        """How many credits `minor` buys without its bonus, rounded down."""
        return self._plain_pieces[self._index(minor)].credits(minor)

    def rule(self, minor: int) -> str:
        """What applies at `minor`, in words."""
        return self._rules[self._index(minor)]

    def least_minor(self, wanted: int) -> int | None:
        """The least amount that buys `wanted` credits or more; `None` beyond the largest amount."""
        index = bisect_left(self._last_credits, wanted)
        if index == len(self._pieces):
            return None
        piece, step = self._pieces[index], self.unit.step_minor
        # Rounded down, a value reaches n exactly where the value itself does. -(-a // b) rounds up.
        exact = -((piece.offset - wanted * piece.denominator) // piece.slope)
        minor = max(self._starts[index], -(-exact // step) * step)
        # A last tier may start beyond the largest amount: nobody can get there.
        return minor if minor <= self.unit.maximum_minor else None

    def _index(self, minor: int) -> int:
        if len(self._starts) == 1:
            return 0
        return max(0, bisect_right(self._starts, minor) - 1)
