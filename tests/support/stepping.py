"""Taking one step with the library and with its model, alone or with others in one batch."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import attrs
from tests.support import model

import credit_payments as cp
from credit_payments.domain.decision import Command, NotLoaded
from credit_payments.domain.records import Entry, Hold
from credit_payments.settlement import Settlement


@attrs.frozen
class Api:
    """What steps are taken with: the real ones, or such as only catch the commands."""

    wallets: cp.Wallets
    queue: Any


@attrs.frozen
class Step:
    """One call: how it is made of the library, and of the model."""

    call: Callable[[Api], object]
    expect: Callable[[model.Model], object]


class Caught(Exception):
    """Carries a command that was about to be submitted."""

    @property
    def command(self) -> Command[Any]:
        command: Command[Any] = self.args[0]
        return command


class Catcher:
    """Stands where the queue stands, and lets no command through."""

    def submit(self, command: Command[Any]) -> object:
        raise Caught(command)


@attrs.define(eq=False)
class Watched:
    """A command that notes when it is decided: its batch may put it off for another one."""

    command: Command[Any]
    decided: list[Watched]

    def keys(self) -> Any:
        return self.command.keys()

    def keys_after(self, view: Any) -> Any:
        return self.command.keys_after(view)

    def decide(self, view: Any, now: str) -> Any:
        try:
            made = self.command.decide(view, now)
        except NotLoaded:  # it will be decided again, alone
            raise
        except Exception:
            self.decided.append(self)
            raise
        self.decided.append(self)
        return made


def outcome_of(run: Callable[[], object]) -> object:
    """What a call of either side comes to: its answer, or the name of its error."""
    try:
        return run()
    except model.Refused as refused:
        return f"refused: {refused.name}"
    except cp.CreditPaymentsError as error:
        return f"refused: {type(error).__name__}"


def plain(answer: Any) -> object:
    """The part of an answer that both sides can give."""
    if isinstance(answer, tuple):  # a capture's command answers with entry and hold
        answer = answer[0]
    if isinstance(answer, Settlement):
        return answer.outcome
    if isinstance(answer, Entry | cp.Entry):
        return answer.cause
    if isinstance(answer, Hold):
        key = answer.hold_id.partition(":")[2]
        return key, answer.status, answer.captured, datetime.fromisoformat(answer.lapses_at)
    if isinstance(answer, cp.Hold):
        return answer.key, answer.status, answer.captured, answer.lapses_at
    if isinstance(answer, model.Hold):
        return answer.key, answer.status, answer.captured, answer.lapses
    return bool(answer) if type(answer) is int else answer
