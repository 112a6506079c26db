"""The doctor: of a shop that is well nothing is said, and each fault changes its own line alone."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs
import pytest

import credit_payments as cp
from credit_payments import bootstrap
from credit_payments.adapters.memory import MemoryStorage
from credit_payments.adapters.sqlite import SqliteStorage
from credit_payments.adapters.system_clock import SystemClock
from credit_payments.config import FixedSecrets, Settings
from credit_payments.doctor import Doctor, of_opening
from credit_payments.domain.diagnosis import Diagnosis, Finding
from credit_payments.domain.records import Event
from credit_payments.domain.traits import Access, StripeTraits
from credit_payments.errors import NotConfigured, StorageUnavailable
from credit_payments.testing.simulator import StripeSimulator

pytestmark = pytest.mark.long

URL = "https://shop.example/stripe/webhook"
AT = "2024-01-01T00:00:00.000000Z"


@pytest.fixture(autouse=True)
def without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET", "VAULT_ADDR", "VAULT_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def stripe() -> Iterator[StripeSimulator]:
    with StripeSimulator(webhook_url=URL) as simulator:
        yield simulator


@pytest.fixture
def settings(stripe: StripeSimulator, tmp_path: Path) -> dict[str, Any]:
    return {
        "database": f"sqlite:///{tmp_path / 'credits.db'}",
        "stripe_secret_key": stripe.secret_key,
        "stripe_webhook_secret": stripe.webhook_secret,
        "stripe_api_base": stripe.url,
        "stripe_wait_seconds_max": 0,
        "stripe_attempts_max": 1,
    }


Examine = Callable[..., Diagnosis]


@pytest.fixture
def examine(settings: dict[str, Any]) -> Examine:
    """Opens the shop with changed settings, and examines it."""

    def examined(*, webhook_url: str | None = URL, **changes: Any) -> Diagnosis:
        with cp.connect(**settings | changes) as system:
            return system.diagnose(webhook_url=webhook_url)

    return examined


def changes(before: Diagnosis, after: Diagnosis) -> dict[str, Finding]:
    """The findings that are not as they were, or came instead of others."""
    return {one.name: one for one in after.findings if one not in before.findings}


def only(before: Diagnosis, after: Diagnosis) -> Finding:
    (one,) = changes(before, after).values()
    return one


# -- a shop that is well, and one fault at a time ---------------------------------------------


def test_of_a_shop_that_is_well_every_finding_is(examine: Examine) -> None:
    found = examine()
    assert [(one.name, one.said) for one in found.findings if one.level != "ok"] == []
    names = [one.name for one in found.findings]
    assert len(set(names)) == len(names)
    assert {
        "setting.stripe_secret_key", "encryption", "database", "database.schema",
        "database.durability", "database.indexes", "events.waiting", "events.dead", "quarantine",
        "notifications", "stripe.mode", "stripe.key", "stripe.clock", "stripe.api_version",
        "webhooks.endpoint", "webhooks.events", "webhooks.api_version", "webhooks.secret",
    } <= set(names)  # fmt: skip
    assert examine() == found, "looking changes nothing"


@pytest.mark.parametrize("seconds", [31, 301])
def test_a_clock_that_is_behind_stripes_is_told(
    examine: Examine, stripe: StripeSimulator, seconds: int
) -> None:
    before = examine()
    stripe.clock.advance(seconds + 2)  # what a slow answer may excuse
    found = only(before, examine())
    assert found.name == "stripe.clock"
    assert found.level == ("problem" if seconds > 300 else "warning")


def test_an_endpoint_that_is_disabled_or_gone_is_told(
    examine: Examine, stripe: StripeSimulator
) -> None:
    before = examine()
    (endpoint,) = stripe.call("GET", "/v1/webhook_endpoints")["data"]
    path = f"/v1/webhook_endpoints/{endpoint['id']}"
    stripe.call("POST", path, {"disabled": True})
    assert "disabled" in only(before, examine()).said
    stripe.call("DELETE", path)
    assert "not registered" in only(before, examine()).said
    assert only(before, examine(webhook_url=None)).level == "warning"


def test_events_that_are_not_enabled_are_told_the_hosts_own_among_them(
    settings: dict[str, Any], stripe: StripeSimulator, examine: Examine
) -> None:
    before = examine()
    (endpoint,) = stripe.call("GET", "/v1/webhook_endpoints")["data"]
    enabled = {"enabled_events": ["payment_intent.succeeded"]}
    stripe.call("POST", f"/v1/webhook_endpoints/{endpoint['id']}", enabled)
    with cp.connect(**settings) as system:
        system.webhooks.on("invoice.paid")(lambda event: None)
        found = only(before, system.diagnose(webhook_url=URL))
    assert (found.name, found.level) == ("webhooks.events", "problem")
    assert found.said.startswith("not enabled: payment_intent.payment_failed, ")
    assert found.said.endswith(", invoice.paid")


def test_a_restricted_key_that_may_not_list_endpoints_is_a_warning(
    examine: Examine, stripe: StripeSimulator
) -> None:
    before = examine()
    stripe.faults.next(403, path="/v1/webhook_endpoints")
    found = only(before, examine())
    assert (found.name, found.level) == ("webhooks.endpoint", "warning")


@pytest.mark.parametrize("status", [401, 403, 429, 500])
def test_a_key_that_does_not_work_is_told(
    examine: Examine, stripe: StripeSimulator, status: int
) -> None:
    before = examine()
    stripe.faults.next(status, path="/v1/payment_intents")
    found = only(before, examine())
    assert (found.name, found.level) == ("stripe.key", "problem")


def test_a_stripe_that_cannot_be_reached_is_told(examine: Examine, stripe: StripeSimulator) -> None:
    before = examine()
    stripe.stop()
    found = only(before, examine())
    assert (found.name, found.said) == ("stripe.key", "no usable answer from Stripe")


def test_without_a_webhook_secret_webhooks_are_refused(examine: Examine) -> None:
    before = examine()
    found = changes(before, examine(stripe_webhook_secret=None))
    assert set(found) == {"webhooks.secret"}
    assert found["webhooks.secret"].level == "problem"


def test_without_a_key_wallets_work(examine: Examine) -> None:
    before = examine()
    found = only(before, examine(stripe_secret_key=None))
    assert (found.name, found.level) == ("stripe.mode", "warning")
    bare = examine(stripe_secret_key=None, stripe_webhook_secret=None)
    assert "webhooks.secret" not in {one.name for one in bare.findings}


def test_a_pinned_version_is_told(examine: Examine) -> None:
    before = examine(stripe_api_version="2023-10-16")
    found = next(one for one in before.findings if one.name == "stripe.api_version")
    assert found.level == "ok"
    assert found.said.startswith("2023-10-16, pinned by stripe_api_version")
    assert only(before, examine(stripe_api_version="2022-11-15")).level == "warning"


def test_an_index_that_is_missing_is_told(examine: Examine, settings: dict[str, Any]) -> None:
    before = examine()
    storage = SqliteStorage(settings["database"].removeprefix("sqlite:///"))
    with storage._connections.writer() as connection:
        connection.execute("DROP INDEX entries_by_user_id_sequence")
    storage.close()
    found = only(before, examine())
    assert (found.name, found.level) == ("database.indexes", "problem")


def test_dead_letters_and_events_that_wait_are_told(
    examine: Examine, settings: dict[str, Any]
) -> None:
    before = examine()
    storage = SqliteStorage(settings["database"].removeprefix("sqlite:///"))
    with storage.transaction() as transaction:
        rows = [
            Event(f"evt_{status}", "x", "pi_1", "queued", AT, status, due_at=AT, created_at=AT)
            for status in ("dead", "due")
        ]
        transaction.write(rows, [])
    storage.close()
    found = changes(before, examine())
    assert set(found) == {"events.dead", "events.waiting", "events.last"}
    assert found["events.dead"].level == found["events.waiting"].level == "warning"


def test_memory_is_for_development(examine: Examine) -> None:
    found = {one.name: one for one in examine(database="memory://").findings}
    assert found["database"].level == "warning"
    assert "database.schema" not in found


# -- parts that fail, or are not there at all -------------------------------------------------


@attrs.define
class Gateway:
    """A Stripe that says what it is told to, or that there is no key."""

    traits: StripeTraits | None = None

    def inspect(self, now: Callable[[], datetime]) -> StripeTraits:
        if self.traits is None:
            raise NotConfigured
        return self.traits


def doctor(
    gateway: Gateway, *, livemode: bool | None = True, secrets: FixedSecrets | None = None
) -> Doctor:
    held = secrets or FixedSecrets(
        secret_key="sk_live_x", webhook_secrets=["whsec_x"], livemode=livemode
    )
    stripe: Any = gateway
    return Doctor(Settings(database="memory://"), held, stripe, SystemClock())


def seen(payments: Access = "granted") -> StripeTraits:
    return StripeTraits(payments=payments, webhooks="granted")


def examined(found: Doctor, storage: Any = None) -> dict[str, Finding]:
    storage = storage or MemoryStorage()
    with cp.connect(database="memory://") as system:
        diagnosis = found.examine(storage, system.health, webhook_url=None)
    return {one.name: one for one in diagnosis.findings}


def test_a_live_key_and_a_database_for_development_are_a_problem() -> None:
    found = examined(doctor(Gateway(seen())))
    assert found["database"].level == "problem"
    assert found["stripe.mode"].said == "live: real money moves"
    assert found["webhooks.endpoint"].level == "problem"
    assert found["setting.database"].said == "left at its default"


def test_a_key_that_its_source_has_just_lost_is_no_crash() -> None:
    found = examined(doctor(Gateway()))
    assert found["stripe.mode"].level == "warning"


def test_a_database_that_does_not_answer_hides_nothing_else() -> None:
    class Down(MemoryStorage):
        def inspect(self) -> Any:
            raise StorageUnavailable("it is down")

    found = examined(doctor(Gateway(seen())), Down())
    assert (found["database"].level, found["database"].said) == ("problem", "it is down")
    assert "events.dead" not in found
    assert found["stripe.key"].level == "ok"


def test_a_source_that_was_passed_over_is_told() -> None:
    held = FixedSecrets(secret_key="sk_test_x", livemode=False)
    held.troubles = {"Vault": "it is sealed"}
    found = examined(doctor(Gateway(seen()), secrets=held))
    assert found["source"].level == "warning"


# -- where no system can be built -------------------------------------------------------------


def diagnosed(**settings: Any) -> dict[str, Finding]:
    diagnosis = bootstrap.diagnose(**settings)
    return {one.name: one for one in diagnosis.findings}


def diagnosed_in_full(settings: dict[str, Any]) -> Diagnosis:
    with cp.connect(**settings) as system:
        return system.diagnose(webhook_url=URL)


def test_settings_that_cannot_be_used_are_told_one_by_one() -> None:
    found = diagnosed(stripe_secret_key="hunter2", webhook_mode="sometimes")
    assert {one.name: one.level for one in found.values()} == {
        "setting.stripe_secret_key": "problem",
        "setting.webhook_mode": "problem",
    }


def test_a_database_that_is_not_there_is_told_beside_all_else(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    found = diagnosed(**settings)
    assert found["database"].level == "problem"
    assert found["stripe.key"].level == "ok"
    assert list(tmp_path.iterdir()) == [], "nothing is created"


def test_a_schema_that_is_behind_is_told_with_the_command(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    with cp.connect(**settings):
        pass
    storage = SqliteStorage(tmp_path / "credits.db")
    with storage._connections.writer() as connection:
        connection.execute("DELETE FROM credit_payments_migrations WHERE version > 2")
    storage.close()
    found = diagnosed(**settings)
    assert found["database.schema"].level == "problem"
    assert "schema version 2" in found["database.schema"].said
    assert "credit-payments migrate" in str(found["database.schema"].advice)


def test_a_table_that_was_dropped_is_told_and_that_nothing_can_be_read(
    settings: dict[str, Any], examine: Examine, tmp_path: Path
) -> None:
    before = examine()
    storage = SqliteStorage(tmp_path / "credits.db")
    with storage._connections.writer() as connection:
        connection.execute("DROP TABLE events")
    storage.close()
    found = changes(before, diagnosed_in_full(settings))
    assert {name: one.level for name, one in found.items()} == {
        "database.tables": "problem",
        "events": "problem",
    }
    assert found["database.tables"].said == "missing: events"


def test_a_folder_that_may_not_be_entered_is_no_server_to_start() -> None:
    (found,) = of_opening(PermissionError(13, "Permission denied", "/hunter2"))
    assert (found.name, found.said) == ("database", "It cannot be opened: Permission denied.")
    assert "user's rights" in str(found.advice)


def test_a_path_that_leads_nowhere_is_told(settings: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = diagnosed(**settings | {"database": f"sqlite:///{tmp_path / 'file' / 'x.db'}"})
    assert found["database"].level == "problem"


def test_a_vault_that_is_required_and_silent_is_told() -> None:
    vault = {"vault_url": "http://127.0.0.1:1", "vault_token": "hvs.hunter2"}
    found = diagnosed(database="memory://", vault_required=True, **vault)
    assert set(found) == {"source"}
    assert "hunter2" not in repr(found)


# -- nothing that is secret -------------------------------------------------------------------


def test_no_secret_is_in_any_finding(stripe: StripeSimulator, tmp_path: Path) -> None:
    canaries = ["sk_test_CANARY1", "whsec_CANARY2", "CANARY3", "CANARY4"]
    stripe.call(
        "POST",
        "/v1/webhook_endpoints",
        {"url": f"https://ada:{canaries[2]}@shop.example/x?{canaries[3]}", "enabled_events": ["*"]},
    )
    given = {
        "stripe_secret_key": canaries[0],
        "stripe_webhook_secret": canaries[1],
        "stripe_api_base": stripe.url,
    }
    urls = [
        f"sqlite:///{tmp_path / 'x.db'}",
        f"postgresql://ada:{canaries[2]}@127.0.0.1:1/x",
        f"mongodb://ada:{canaries[2]}@127.0.0.1:1/x?timeoutMS=100",
        f"nonsense://ada:{canaries[2]}@host/x",
    ]
    for database in urls:
        found = bootstrap.diagnose(
            database=database,
            webhook_url=f"https://ada:{canaries[2]}@shop.example/x?{canaries[3]}",
            create_database=True,
            **given,
        )
        assert len(found.findings) > 5
        told = repr(found) + repr(found.as_dict()) + repr(pickle.loads(pickle.dumps(found)))
        assert "CANARY" not in told
