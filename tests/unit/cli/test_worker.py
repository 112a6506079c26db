"""`credit-payments worker`: whose system it works on, what it says, and how signals end it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from tests.support.office import HOSTS, Office

from credit_payments.adapters.sqlite import SqliteStorage
from credit_payments.cli import worker as workers
from credit_payments.cli.commands import commands
from credit_payments.domain.records import Event
from credit_payments.errors import StorageUnavailable
from credit_payments.worker import Worker

pytestmark = pytest.mark.long

SECONDS_MAX = 30.0

SHOP = """
import os, time
import credit_payments as cp

DATABASE = os.environ["SHOP_DATABASE"]

class Stripe:
    def retrieve_event(self, event_id, *, account=None):
        data = {"object": {"id": "in_1", "object": "invoice"}}
        return {"id": event_id, "type": "invoice.paid", "created": 1, "data": data}
    def close(self):
        print("closed", flush=True)

def make():
    system = cp.connect(database=DATABASE)
    system._gateway = Stripe()
    @system.webhooks.on("invoice.paid")
    def handle(event):
        print("handles", event.id, flush=True)
        time.sleep(float(os.environ.get("SHOP_SECONDS", "0")))
    return system

class Holder:
    nothing = None
    make = staticmethod(make)

if "SHOP_AT_IMPORT" in os.environ:
    system = make()

def broken():
    return cp.connect(database="nonsense://")
"""


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """The host's own process, which stores events in a database of its directory."""
    storage = SqliteStorage(tmp_path / "credits.db")
    office = Office(storage)
    office.handlers.on(HOSTS)(lambda event: None)
    (tmp_path / "cli_shop.py").write_text(SHOP)
    yield office
    office.queue.close()
    storage.close()


def url(directory: Path) -> str:
    return f"sqlite:///{directory / 'credits.db'}"


def start(directory: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
    given = {"SHOP_DATABASE": url(directory), "PYTHONPATH": ""} | environment
    return subprocess.Popen(
        [sys.executable, "-m", "credit_payments", "worker", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=directory,
        env=os.environ | given,
    )


def run(directory: Path, *words: str, **environment: str) -> tuple[int, str, str]:
    process = start(directory, *words, **environment)
    out, err = process.communicate(timeout=SECONDS_MAX)
    return process.returncode, out, err


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_draining_does_what_is_due_says_how_much_and_ends(office: Office, tmp_path: Path) -> None:
    office.sell()
    office.pay("evt_1")
    office.pay("evt_2")
    code, out, err = run(tmp_path, "--database", url(tmp_path), "--drain")
    assert (code, out) == (0, "2 events, 0 notifications, 0 due postings\n")
    assert office.balance() == 100
    lines = err.splitlines()
    assert len(lines) == 2
    assert all("INFO credit_payments.worker: payment_intent.succeeded" in line for line in lines)


@pytest.mark.parametrize("app", ["cli_shop:make", "cli_shop:Holder.make", "cli_shop:system"])
def test_the_hosts_system_brings_its_handlers_and_is_closed(
    office: Office, tmp_path: Path, app: str
) -> None:
    office.tell_host("evt_1")
    at_import = {"SHOP_AT_IMPORT": "1"} if app == "cli_shop:system" else {}
    code, out, err = run(tmp_path, "--app", app, "--drain", **at_import)
    assert (code, out) == (
        0,
        "handles evt_1\n1 events, 0 notifications, 0 due postings\nclosed\n",
    ), err
    assert office.event("evt_1").outcome == "applied"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_what_is_in_hand_be_finished(
    office: Office, tmp_path: Path, number: signal.Signals
) -> None:
    for event in range(5):
        office.tell_host(f"evt_{event}")
    worker = start(tmp_path, "--app", "cli_shop:make", SHOP_SECONDS="0.3")
    assert worker.stdout is not None
    handled = worker.stdout.readline().split()[1]
    worker.send_signal(number)
    out, err = worker.communicate(timeout=SECONDS_MAX)
    assert (worker.returncode, out.splitlines()[-1]) == (0, "closed")
    assert "The worker has started." in err
    assert "The worker has ended; nothing is left in its hands." in err.splitlines()[-1]
    assert office.event(handled).status == "done"
    assert [event for event in office.events() if event.lease] == []


def test_a_second_signal_ends_a_worker_whose_handler_hangs(office: Office, tmp_path: Path) -> None:
    office.tell_host("evt_1")
    worker = start(tmp_path, "--app", "cli_shop:make", SHOP_SECONDS="3600")
    assert worker.stdout is not None
    worker.stdout.readline()
    worker.send_signal(signal.SIGTERM)
    for _ in range(100):  # the first one has to be taken before the second comes
        try:
            worker.wait(0.1)
        except subprocess.TimeoutExpired:
            worker.send_signal(signal.SIGTERM)
        else:
            break
    worker.communicate(timeout=SECONDS_MAX)
    assert worker.returncode == -signal.SIGTERM
    assert office.event("evt_1").lease, "another worker follows after the lease"


def test_an_idle_worker_ends_at_a_signal(office: Office, tmp_path: Path) -> None:
    office.sell()
    office.pay("evt_1")
    worker = start(tmp_path, "--database", url(tmp_path))

    def is_done() -> bool:
        found = office.storage.get(Event, "evt_1")
        return found is not None and found.status == "done"

    until(is_done)
    worker.send_signal(signal.SIGTERM)
    worker.communicate(timeout=SECONDS_MAX)
    assert worker.returncode == 0


@pytest.mark.parametrize(
    ("app", "words"),
    [
        ("cli_shop", "give it as module:attribute"),
        (":make", "give it as module:attribute"),
        ("no_such_shop:make", "there is no module no_such_shop"),
        ("cli_shop.web:make", "there is no module cli_shop.web"),
        ("cli_shop:no_such", "cli_shop has no no_such"),
        ("cli_shop:Holder.nothing", "neither a credit_payments System nor a function"),
        ("cli_shop:broken", "No storage for nonsense:// URLs"),
    ],
)
def test_an_app_that_is_none_is_told_in_a_sentence(
    office: Office, tmp_path: Path, app: str, words: str
) -> None:
    code, out, err = run(tmp_path, "--app", app, "--drain")
    assert (code, out) == (2, "")
    assert words in err
    assert "Traceback" not in err


def test_what_the_hosts_module_lacks_itself_is_not_hidden(tmp_path: Path, office: Office) -> None:
    (tmp_path / "cli_shop.py").write_text("import a_module_that_is_gone")
    code, _, err = run(tmp_path, "--app", "cli_shop:make")
    assert code == 1
    assert "a_module_that_is_gone" in err


def test_a_system_that_cannot_be_opened_at_import_is_told_in_a_sentence(
    tmp_path: Path, office: Office
) -> None:
    lines = "import credit_payments as cp\nsystem = cp.connect(webhook_mode='sometimes')\n"
    (tmp_path / "cli_shop.py").write_text(lines)
    code, _, err = run(tmp_path, "--app", "cli_shop:system")
    assert code == 2
    assert "webhook_mode" in err
    assert "Traceback" not in err


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    code, _, err = run(tmp_path, "--database", url(tmp_path), "--drain")
    assert code == 2
    assert err.startswith("Error: There is no database")
    assert not (tmp_path / "credits.db").exists()


def test_an_app_has_a_database_of_its_own() -> None:
    words = ["worker", "--app", "cli_shop:make", "--database", "memory://"]
    result = CliRunner().invoke(commands, words)
    assert result.exit_code == 2
    assert "--app has a database of its own" in result.output


def test_a_database_that_does_not_answer_yet_is_waited_for(
    office: Office, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tries: list[str | None] = []

    @contextmanager
    def chosen(database: str | None, app: str | None) -> Iterator[Any]:
        tries.append(app)
        if len(tries) < 4:
            raise StorageUnavailable("nobody answers")
        yield SimpleNamespace(worker=office.worker)

    monkeypatch.setattr(workers, "chosen", chosen)
    monkeypatch.setattr(workers, "_PAUSE_SECONDS_MIN", 0.001)
    monkeypatch.setattr(workers, "_log_to_stderr", lambda: None)  # nor for the tests after this
    with pytest.raises(SystemExit):
        workers.run(None, "shop:make", drain=True)
    assert tries == ["shop:make"], "who drains is told at once"
    assert "nobody answers" in capsys.readouterr().err
    monkeypatch.setattr(Worker, "run", lambda self: None)
    workers.run(None, "shop:make", drain=False)
    assert len(tries) == 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_wait_for_a_database(tmp_path: Path, number: int) -> None:
    database = "postgresql://nobody@127.0.0.1:1/credits"
    worker = start(tmp_path, "--database", database)
    assert worker.stderr is not None
    assert "The worker waits for its database" in worker.stderr.readline()
    worker.send_signal(number)
    assert worker.wait(SECONDS_MAX) == 0
    worker.communicate()
