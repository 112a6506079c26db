"""The secrets that hold at one instant, and what becomes of them when a source has others."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NoReturn, Self

import attrs

from credit_payments.config.loading import NOT_PICKLED, Found
from credit_payments.config.settings import Settings
from credit_payments.domain.signature import SigningSecret
from credit_payments.errors import ConfigurationError

WEBHOOK_SECRET = "stripe_webhook_secret"  # noqa: S105 - a setting's name
TOGETHER = (("stripe_secret_key", "stripe_publishable_key"), (WEBHOOK_SECRET,))
"""Which secrets are replaced, and which of them only as one: keys must be of one mode."""

RETIRED_MAX = 8
"""How many replaced webhook secrets are kept; each is one more try for every wrong signature."""


@attrs.frozen(repr=False)
class _Retired:
    """A webhook secret that the source holds no more."""

    text: str
    secret: SigningSecret
    ends_at: datetime

    def __reduce__(self) -> NoReturn:
        raise TypeError(NOT_PICKLED)


@attrs.frozen(repr=False)
class Held:
    """Everything that holds at once, so that no reader sees half of a change."""

    settings: Settings
    origins: Mapping[str, str]
    signing: tuple[SigningSecret, ...]
    retired: tuple[_Retired, ...] = ()

    def __reduce__(self) -> NoReturn:
        raise TypeError(NOT_PICKLED)

    @classmethod
    def of(cls, settings: Settings, origins: Mapping[str, str]) -> Self:
        """What holds at the start."""
        return cls(settings, origins, tuple(map(SigningSecret, settings.webhook_secrets)))

    def accepted(self, now: datetime) -> tuple[SigningSecret, ...]:
        """The webhook secrets whose signatures are accepted, the present ones first."""
        return self.signing + tuple(old.secret for old in self.retired if now < old.ends_at)

    def taking(self, found: Found, *, retire_at: datetime, now: datetime) -> Self:
        """What holds once the values found have replaced those before them.

        Args:
            found: values of one of the groups that are replaced together.
            retire_at: the end of the webhook secrets that are not among them any more.
            now: what has ended by now is forgotten.

        Raises:
            ConfigurationError: they cannot be used, or not without starting anew.
        """
        settings = _replaced(self.settings, found.values)
        signing, retired = self.signing, {old.text: old for old in self.retired}
        texts = settings.webhook_secrets
        if texts != self.settings.webhook_secrets:
            before = dict(zip(self.settings.webhook_secrets, self.signing, strict=True))
            known = {text: old.secret for text, old in retired.items()} | before
            signing = tuple(known.get(text) or SigningSecret(text) for text in texts)
            retired |= {text: _Retired(text, old, retire_at) for text, old in before.items()}
        left = [old for text, old in retired.items() if text not in texts and now < old.ends_at]
        return attrs.evolve(
            self,
            settings=settings,
            origins={**self.origins, **found.origins},
            signing=signing,
            retired=tuple(left[-RETIRED_MAX:]),
        )


def _replaced(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """The settings with other values, checked as a whole; the same ones where nothing changes."""
    changed = attrs.evolve(settings, **values)
    if changed == settings:
        return settings
    # The mode was built into the start: which database was opened, which events were taken.
    if bool(changed.livemode) != bool(settings.livemode):
        mode = "live" if changed.livemode else "test"
        raise ConfigurationError(
            f"stripe_secret_key has become a {mode} key: start the process anew to take it",
            param="stripe_secret_key",
        )
    return changed
