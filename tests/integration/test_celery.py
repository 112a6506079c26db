"""Celery with a real broker and real workers: messages may be lost, doubled or late."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
from celery import Celery
from kombu.exceptions import LimitExceeded, OperationalError
from redis import Redis
from tests.support.celery_shop import HOSTS
from tests.support.office import PAID
from tests.support.servers.fixtures import skipping_where_missing
from tests.support.servers.redis import RedisServer

import credit_payments as cp
from credit_payments.adapters import celery as celery_adapter
from credit_payments.adapters.celery import APPLY, WORK, CeleryJobs, install
from credit_payments.domain.quoting import KeepQuote
from credit_payments.domain.records import Event, Quote
from credit_payments.testing.simulator import StripeSimulator

SECONDS_MAX = 60.0
NEVER = 3_600.0


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with ExitStack() as stack:
        with skipping_where_missing():
            server = stack.enter_context(RedisServer())
        yield server


@attrs.define
class Shop:
    """The host's web process, whose webhooks tell Celery, and its workers."""

    redis: RedisServer
    database: str
    directory: Path
    system: cp.System
    simulator: StripeSimulator
    started: list[subprocess.Popen[bytes]] = attrs.field(factory=list)

    def sell(self, payments: int) -> list[str]:
        """Have Stripe tell of so many payments, 100 credits each; the events' ids."""
        return [self._pay(number) for number in range(payments)]

    def _pay(self, number: int) -> str:
        quote = Quote(
            quote_id=f"quote_{number}", user_id="ada", amount_minor=PAID, currency="usd",
            credits=100, package_id=None, customer_id=None, rule="rate", expires_seconds=None,
            fingerprint="f", payment_intent_id=None, created_at="",
        )  # fmt: skip
        self.system.queue.submit(KeepQuote(quote=quote))
        intent = {
            "id": f"pi_{number}", "object": "payment_intent", "amount": PAID,
            "amount_received": PAID, "currency": "usd", "created": 1_704_067_200,
            "metadata": {"user_id": "ada", "quote_id": f"quote_{number}"}, "status": "succeeded",
        }  # fmt: skip
        return self.tell("payment_intent.succeeded", intent)

    def tell(self, kind: str, fields: dict[str, Any]) -> str:
        body = self.simulator.build_event(kind, fields)
        delivery = self.system.webhooks.receive(body, self.simulator.sign(body))
        assert delivery.outcome == "queued"
        return delivery.event_id

    def tell_host(self) -> str:
        return self.tell(HOSTS, {"id": "in_1", "object": "invoice"})

    def start_worker(self, pool: str = "solo", *, every: float = NEVER, **given: object) -> Any:
        """A worker of Celery's, with its beat where something is to come every so many seconds."""
        name = f"worker{len(self.started)}"
        environment = {
            "SHOP_BROKER": self.redis.url,
            "SHOP_DATABASE": self.database,
            "SHOP_DIARY": str(self.directory / "diary"),
            "SHOP_EVERY": str(every),
        } | {f"SHOP_{key.upper()}": str(value) for key, value in given.items()}
        beat = [] if every == NEVER else ["--beat", "-s", str(self.directory / f"beat-{name}")]
        command = [
            *(sys.executable, "-m", "celery", "-A", "tests.support.celery_shop", "worker"),
            *("--pool", pool, "--concurrency", "2", "--loglevel", "INFO", "-n", f"{name}@shop"),
            *("--without-gossip", "--without-mingle", *beat),
        ]
        with self.log(name).open("wb") as log:
            process = subprocess.Popen(
                command,
                env=os.environ | environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=Path(__file__).parents[2],
            )
        self.started.append(process)
        until(lambda: " ready." in self.log(name).read_text(), lambda: self.log(name).read_text())
        return process

    def log(self, name: str = "worker0") -> Path:
        return self.directory / f"{name}.log"

    def diary(self) -> list[list[str]]:
        diary = self.directory / "diary"
        return [line.split() for line in diary.read_text().splitlines()] if diary.exists() else []

    def events(self) -> list[Event]:
        return list(self.system._storage.scan(Event, order=("event_id",)))

    def wait_until_all_is_done(self) -> None:
        def is_done() -> bool:
            return all(event.status == "done" for event in self.events())

        until(
            is_done, lambda: [self.log(f"worker{n}").read_text() for n in range(len(self.started))]
        )

    def check(self, payments: int) -> None:
        assert self.system.wallets.balance("ada").available == 100 * payments
        assert {event.status for event in self.events()} == {"done"}
        report = self.system.verify()
        assert report.ok, report.problems
        assert report.entries == payments

    def end(self, process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> int:
        if number == signal.SIGKILL:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        return process.wait(SECONDS_MAX)


def until(holds: Callable[[], bool], context: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not holds():
        assert time.monotonic() < deadline, context()
        time.sleep(0.02)


@contextmanager
def opened(redis: RedisServer, database: str, directory: Path) -> Iterator[Shop]:
    simulator = StripeSimulator()
    jobs = CeleryJobs(Celery("web", broker=redis.url))
    with cp.connect(
        database=database,
        webhook_mode="queued",
        stripe_secret_key=simulator.secret_key,
        stripe_webhook_secret=simulator.webhook_secret,
        jobs=jobs,
    ) as system:
        system.webhooks.on(HOSTS)(lambda event: None)  # so that it is stored
        shop = Shop(redis, database, directory, system, simulator)
        try:
            yield shop
        finally:
            for process in shop.started:
                if process.poll() is None:
                    shop.end(process, signal.SIGKILL)
            jobs.close()


@pytest.fixture
def shop(redis: RedisServer, tmp_path: Path) -> Iterator[Shop]:
    with opened(redis, f"sqlite:///{tmp_path / 'credits.db'}", tmp_path) as shop:
        yield shop


@pytest.mark.long
@pytest.mark.parametrize("pool", ["solo", "prefork", "threads"])
def test_queued_webhooks_are_applied_by_a_worker_of_celerys(shop: Shop, pool: str) -> None:
    worker = shop.start_worker(pool)
    shop.sell(20)
    shop.tell_host()
    shop.wait_until_all_is_done()
    shop.check(20)
    assert shop.end(worker) == 0
    opened = {pid for word, *_, pid in shop.diary() if word == "opened"}
    closed = {pid for word, *_, pid in shop.diary() if word == "closed"}
    assert opened == closed
    assert 1 <= len(opened) <= 2
    if pool == "prefork":
        assert str(worker.pid) not in opened, "it is opened after the fork"
    else:
        assert opened == {str(worker.pid)}


@pytest.mark.long
def test_processes_that_were_forked_work_on_postgres_each_by_itself(
    redis: RedisServer, postgres_database: str, tmp_path: Path
) -> None:
    with opened(redis, postgres_database, tmp_path) as shop:
        worker = shop.start_worker("prefork")
        shop.sell(40)
        shop.wait_until_all_is_done()
        shop.check(40)
        assert shop.end(worker) == 0


@pytest.mark.long
def test_messages_that_are_doubled_or_tell_of_nothing_change_nothing(shop: Shop) -> None:
    names = shop.sell(10)
    jobs = CeleryJobs(Celery("web", broker=shop.redis.url))
    for name in [*names * 3, "evt_unknown"]:
        jobs.enqueue(name)
    jobs.close()
    shop.start_worker("prefork")
    shop.wait_until_all_is_done()
    until(lambda: _lines(shop, APPLY, " succeeded ") == 41, lambda: shop.log().read_text())
    shop.check(10)
    assert {event.attempts for event in shop.events()} == {0}, "nobody's try has failed"


def _lines(shop: Shop, task: str, words: str, name: str = "worker0") -> int:
    """How many lines of a worker's log say that of a task."""
    lines = shop.log(name).read_text().splitlines()
    return sum(task in line and words in line for line in lines)


@pytest.mark.long
def test_a_broker_that_forgets_everything_loses_nothing(shop: Shop) -> None:
    shop.start_worker("solo", every=0.5)
    with Redis(port=shop.redis.process.port) as client:
        for number in range(60):
            shop._pay(number)
            if number % 10 == 5:
                client.flushall()
    shop.wait_until_all_is_done()
    shop.check(60)


@pytest.mark.long
def test_messages_that_were_lost_before_anybody_worked_are_not_missed(shop: Shop) -> None:
    shop.sell(30)
    with Redis(port=shop.redis.process.port) as client:
        assert client.llen("celery") == 30
        client.flushall()
    shop.start_worker("prefork", every=0.5)
    shop.wait_until_all_is_done()
    shop.check(30)
    assert _lines(shop, APPLY, " succeeded ") == 0


@pytest.mark.long
def test_a_broker_that_is_down_fails_no_webhook_and_its_events_are_found_later(shop: Shop) -> None:
    shop.redis.process.kill()
    names = shop.sell(5)
    assert {event.event_id for event in shop.events() if event.status == "due"} == set(names)
    shop.redis.process.start()
    shop.start_worker("solo", every=0.5)
    shop.wait_until_all_is_done()
    shop.check(5)


def test_a_broker_that_was_down_is_left_alone_for_a_while_and_then_told_again(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = CeleryJobs(Celery("web", broker=redis.url), queue="payments")
    os.kill(redis.process.pid, signal.SIGSTOP)  # it takes connections, and answers nothing
    with pytest.raises(OperationalError):
        jobs.enqueue("evt_1")
    os.kill(redis.process.pid, signal.SIGCONT)
    with pytest.raises(OperationalError, match="left alone"):
        jobs.enqueue("evt_2")
    monkeypatch.setattr(jobs, "_resting_until", 0.0)
    jobs.enqueue("evt_3")
    with Redis(port=redis.process.port) as client:
        assert client.llen("payments") >= 1
    jobs.close()
    jobs.close()
    jobs.enqueue("evt_4")
    jobs.close()


@pytest.mark.long
def test_threads_go_on_telling_a_broker_that_goes_and_comes(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(celery_adapter, "REST_SECONDS", 0.02)
    jobs = CeleryJobs(Celery("web", broker=redis.url))
    told: Counter[str] = Counter()
    over = threading.Event()

    def tell() -> None:
        while not over.wait(0.002):
            try:
                jobs.enqueue("evt_1")
            except (OperationalError, LimitExceeded) as error:
                told[type(error).__name__] += 1
            else:
                told["ok"] += 1

    def goes_on(what: str) -> None:
        before = told[what]
        until(lambda: told[what] > before + 10, lambda: told)

    with ThreadPoolExecutor(8) as pool:
        tellers = [pool.submit(tell) for _ in range(8)]
        for _ in range(3):
            goes_on("ok")
            redis.process.kill()
            goes_on("OperationalError")
            redis.process.start()
        goes_on("ok")
        over.set()
        for teller in tellers:
            teller.result(SECONDS_MAX)
    jobs.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_process_tells_by_connections_of_its_own(redis: RedisServer) -> None:
    script = f"""
import os
from celery import Celery
from credit_payments.adapters.celery import CeleryJobs
jobs = CeleryJobs(Celery("web", broker="{redis.url}"))
jobs.enqueue("evt_parent")
with jobs._lock:  # as if another thread were just about it
    child = os.fork()
if child == 0:
    code = 1
    try:
        jobs.close()
        jobs.enqueue("evt_child")
        jobs.close()
        code = 0
    finally:
        os._exit(code)
assert os.waitpid(child, 0)[1] == 0
jobs.enqueue("evt_parent_again")
jobs.close()
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=SECONDS_MAX)
    with Redis(port=redis.process.port) as client:
        assert client.llen("celery") == 3


@pytest.mark.long
def test_a_message_that_is_delivered_again_while_its_event_is_handled_is_harmless(
    shop: Shop,
) -> None:
    given = {"visibility": 1, "handler_seconds": 5}
    shop.start_worker("prefork", **given)
    shop.start_worker("prefork", **given)
    name = shop.tell_host()

    until(
        lambda: sum(_lines(shop, APPLY, " received", f"worker{number}") for number in (0, 1)) >= 2,
        lambda: shop.log().read_text(),
    )
    assert shop.events()[0].status == "due", "it is still handled"
    shop.wait_until_all_is_done()
    assert [words[1:3] for words in shop.diary() if words[0] == "handle"] == [[name, "1"]]


@pytest.mark.long
def test_an_event_of_a_worker_that_was_killed_is_done_after_its_lease(shop: Shop) -> None:
    first = shop.start_worker("prefork", handler_seconds=30)
    name = shop.tell_host()
    until(lambda: bool([w for w in shop.diary() if w[0] == "handle"]), shop.diary)
    shop.end(first, signal.SIGKILL)
    shop.start_worker("solo", every=0.5)
    shop.wait_until_all_is_done()
    handled = [words[1:3] for words in shop.diary() if words[0] == "handle"]
    assert handled == [[name, "1"], [name, "2"]]


# -- without a worker -------------------------------------------------------------------------


class Recording:
    """Stands for a system whose worker is asked."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls: Counter[str] = Counter()
        self.error = error

    def worker(self) -> Any:
        return self

    def apply(self, event_id: str) -> bool:
        self.calls[event_id] += 1
        if self.error:
            raise self.error
        return True

    def drain(self, *, rounds_max: int) -> None:
        self.calls["drain"] += 1
        assert rounds_max == celery_adapter.ROUNDS_MAX

    def close(self) -> None:
        self.calls["close"] += 1


def test_tasks_and_their_schedule_are_registered_under_stable_names() -> None:
    app = Celery("shop", broker="memory://")
    system = Recording()
    install(app, system, every_seconds=7, queue="payments")
    entry = app.conf.beat_schedule[WORK]
    assert (entry["task"], entry["schedule"]) == (WORK, 7)
    assert (entry["options"]["queue"], entry["options"]["expires"]) == ("payments", 7)
    for name in (APPLY, WORK):
        task = app.tasks[name]
        assert (task.acks_late, task.ignore_result) == (True, True)
    app.tasks[APPLY]("evt_1")
    app.tasks[WORK]()
    assert system.calls == {"evt_1": 1, "drain": 1}
    with pytest.raises(TypeError):
        app.tasks[APPLY]({"$ne": ""})


def test_a_database_that_is_down_fails_no_task_and_other_errors_do() -> None:
    app = Celery("shop", broker="memory://")
    system = Recording(cp.TryAgain("down"))
    install(app, system)
    app.tasks[APPLY]("evt_1")
    system.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        app.tasks[APPLY]("evt_1")


def test_a_system_is_opened_once_by_the_first_task_and_closed_where_it_was_opened() -> None:
    made: list[Recording] = []

    def make() -> Recording:
        made.append(Recording())
        return made[-1]

    holder = celery_adapter._Opened(make)
    holder.close()
    assert made == [], "closing opens nothing"
    assert holder.get() is holder.get()
    holder._process -= 1  # as in a process that was forked from the one that has opened it
    holder.close()
    assert made[0].calls["close"] == 0
    assert holder.get() is made[1]
    holder.close()
    assert [one.calls["close"] for one in made] == [0, 1]
    given = celery_adapter._Opened(made[0])
    assert given.get() is made[0]
    given.close()
    assert made[0].calls["close"] == 0, "it is the host's"
