"""The chain in which settings are looked for, value by value, and which link gave each."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn, cast

import attrs

from credit_payments import logs
from credit_payments.config.settings import NAMES_IN_SOURCES, Settings
from credit_payments.errors import ConfigurationError, CreditPaymentsError
from credit_payments.ports.secrets import SecretSource

GIVEN = "given by name"
"""The origin of what the application gave itself."""

NOT_PICKLED = "secrets are not pickled: load them where they are used"

_log = logs.logger(__name__)


class Found(NamedTuple):
    """Values by setting, and the name of the source that gave each."""

    values: Mapping[str, str]
    origins: Mapping[str, str]

    def only(self, names: Collection[str]) -> Found:
        """What was found of some of the settings."""
        values = {name: self.values[name] for name in names if name in self.values}
        return Found(values, {name: self.origins[name] for name in values})

    def __repr__(self) -> str:
        return f"Found(origins={dict(self.origins)!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(NOT_PICKLED)


class Loaded(NamedTuple):
    """Settings, where each came from, and what went wrong with sources that are optional."""

    settings: Settings
    origins: Mapping[str, str]
    troubles: Mapping[str, str]


def load_settings(overrides: Mapping[str, object], sources: Sequence[SecretSource]) -> Settings:
    """The settings from what the application gives and what the sources hold.

    A name that `overrides` holds is given, even with None: no source is then asked for it. For
    each other name of `NAMES_IN_SOURCES` the first source that has a value decides, so a secret
    may come from a vault and the database URL from the environment. An optional source that cannot
    be read is warned of, and passed over.

    Args:
        overrides: fields of `Settings` by name.
        sources: where to look, first to last.

    Raises:
        ConfigurationError: a name that does not exist (close ones are named), a source that
            cannot be read, or settings that cannot be used.
        TryAgain: a source that is not optional did not answer.

    Example:
        >>> load_settings({"database": "memory://"}, sources=[]).database
        'memory://'
    """
    return load(overrides, sources).settings


def load(overrides: Mapping[str, object], sources: Sequence[SecretSource]) -> Loaded:
    """The same, with where each setting came from.

    Raises:
        ConfigurationError: as above.
        TryAgain: as above.
    """
    _refuse_unknown(overrides)
    troubles = refresh(sources)
    for source in sources:
        if source.name in troubles and not source.optional:
            raise troubles[source.name]
    told = {name: error.message for name, error in troubles.items()}
    for name, message in told.items():
        _log.warning("%s is passed over: %s", name, message)
    found = look_up((name for name in NAMES_IN_SOURCES if name not in overrides), sources)
    values = cast("dict[str, Any]", {**overrides, **found.values})
    return Loaded(Settings(**values), {**dict.fromkeys(overrides, GIVEN), **found.origins}, told)


def refresh(sources: Iterable[SecretSource]) -> dict[str, CreditPaymentsError]:
    """Have all sources look anew; what went wrong, by the source's name."""
    troubles: dict[str, CreditPaymentsError] = {}
    for source in sources:
        try:
            source.refresh()
        except CreditPaymentsError as error:
            troubles[source.name] = error
    return troubles


def look_up(names: Iterable[str], sources: Sequence[SecretSource]) -> Found:
    """What the sources hold of some settings: of each the first one's that has it.

    Raises:
        ConfigurationError: a source that cannot be read.
    """
    values: dict[str, str] = {}
    origins: dict[str, str] = {}
    for name in names:
        for source in sources:
            value = source.get(NAMES_IN_SOURCES[name])
            if value is not None:
                values[name], origins[name] = value, source.name
                break
    return Found(values, origins)


def _refuse_unknown(overrides: Mapping[str, object]) -> None:
    known = [field.name for field in attrs.fields(Settings)]
    unknown = [name for name in overrides if name not in known]
    if unknown:
        lines = "".join(f"\n  - {name}{_close_to(name, known)}" for name in unknown)
        raise ConfigurationError(f"There is no such setting:{lines}", param=unknown[0])


def _close_to(name: str, known: Sequence[str]) -> str:
    import difflib  # noqa: PLC0415 - only a misspelt name needs it

    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f" (did you mean {' or '.join(close)}?)" if close else ""
