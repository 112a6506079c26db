"""Reads of a MongoDB database through one session, or through none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

from pymongo.client_session import ClientSession
from pymongo.database import Database

from credit_payments.adapters import mongo_documents as documents
from credit_payments.adapters.mongo_documents import Document, Query
from credit_payments.adapters.mongo_errors import translated, within
from credit_payments.domain.decision import Range
from credit_payments.domain.records import Record

R = TypeVar("R", bound=Record)

SCAN_ROWS = 1_000
"""How many rows of a scan are in memory at once."""
_ANSWER_ROWS = 1_000_000
"""As many as an answer of the server can hold: what is asked for by keys comes in one."""


class Rows:
    """See the port `Reader`.

    Args:
        database: where the collections are.
        session: what all reads are part of.
        seconds_max: how long each read may take, if nothing around it ends earlier; a scan, each
            of its answers.
    """

    can_join = True
    """Whether the server answers several queries at once."""

    def __init__(
        self, database: Database[Document], session: ClientSession | None, seconds_max: float
    ) -> None:
        self._database = database
        self._session = session
        self._seconds_max = seconds_max

    def get(self, kind: type[R], key: str) -> R | None:
        """See the port."""
        with self._limited():
            found = self._database[kind.TABLE].find_one(
                documents.by_key(kind, key).where, session=self._session
            )
        return None if found is None else documents.decoder(kind)(found)

    def page(
        self,
        kind: type[R],
        where: Mapping[str, str | int],
        *,
        order: Sequence[str],
        after: Sequence[str | int] | None = None,
        limit: int,
        descending: bool = False,
        ending: str | None = None,
    ) -> list[R]:
        """See the port."""
        query = documents.page(
            kind, where, order, after, limit, descending=descending, ending=ending
        )
        with self._limited():
            return [*map(documents.decoder(kind), self._found(query))]

    def count(
        self,
        kind: type[Record],
        where: Mapping[str, str | int],
        *,
        limit: int,
        ending: str | None = None,
    ) -> int:
        """See the port."""
        query = documents.count(kind, where, limit, ending)
        with self._limited():
            return self._database[query.collection].count_documents(
                query.where, limit=query.limit, session=self._session
            )

    def first(self, ranges: Sequence[Range]) -> Mapping[Range, Sequence[Record]]:
        """See the port."""
        sets = alike_of(ranges)
        queries = [*map(first_of, sets)]
        with self._limited():
            return self._shared_out(sets, queries, self._answers(queries))

    def scan(self, kind: type[R], *, order: Sequence[str]) -> Iterator[R]:
        """See the port."""
        decode = documents.decoder(kind)
        query = documents.everything(kind, order)
        with (
            translated(),
            self._database[kind.TABLE].find(
                query.where,
                sort=query.order,
                batch_size=SCAN_ROWS,
                allow_disk_use=True,  # no index has the order of every scan
                session=self._session,
            ) as cursor,
        ):
            for document in cursor:
                yield decode(document)

    def _shared_out(
        self,
        sets: Sequence[Sequence[Range]],
        queries: Sequence[Query],
        answers: Sequence[Sequence[Document]],
    ) -> dict[Range, Sequence[Record]]:
        """To each series its rows, of those that its query has found."""
        found: dict[Range, Sequence[Record]] = {}
        for alike, query, answer in zip(sets, queries, answers, strict=True):
            rows = [*map(documents.decoder(alike[0].series.kind), answer)]
            if len(alike) == 1:
                found[alike[0]] = rows
            elif len(rows) < query.limit:
                found.update(documents.shared_out(alike, rows))
            else:
                found.update(self._first_of_each(alike))
        return found

    def _limited(self) -> AbstractContextManager[None]:
        return within(self._seconds_max)

    def _answers(self, queries: Sequence[Query]) -> list[list[Document]]:
        """The documents of each query, in one round trip where the server can do so."""
        if len(queries) < 2 or not self.can_join:  # noqa: PLR2004 - one alone needs no joining
            return [self._found(query) for query in queries]
        (answer,) = self._database.aggregate(documents.together(queries), session=self._session)
        return [answer[str(number)] for number in range(len(queries))]

    def _found(self, query: Query) -> list[Document]:
        return list(
            self._database[query.collection].find(
                query.where,
                sort=query.order,
                limit=query.limit,
                batch_size=_ANSWER_ROWS,
                session=self._session,
            )
        )

    def _first_of_each(self, alike: Sequence[Range]) -> Mapping[Range, Sequence[Record]]:
        """The first rows of groups of which some have many."""
        decode = documents.decoder(alike[0].series.kind)
        if not self.can_join:
            return {asked: [*map(decode, self._found(documents.series(asked)))] for asked in alike}
        answers = self._database.aggregate(documents.each(alike), session=self._session)
        return {
            asked: [*map(decode, answer["rows"])]
            for asked, answer in zip(alike, answers, strict=True)
        }


def alike_of(ranges: Sequence[Range]) -> list[list[Range]]:
    """Those together that differ in their groups only."""
    alike: dict[tuple[object, ...], list[Range]] = {}
    for asked in ranges:
        alike.setdefault((asked.series._replace(group=""), asked.limit), []).append(asked)
    return list(alike.values())


def first_of(alike: Sequence[Range]) -> Query:
    """What finds the first rows of each of them."""
    return documents.series(alike[0]) if len(alike) == 1 else documents.probe(alike)
