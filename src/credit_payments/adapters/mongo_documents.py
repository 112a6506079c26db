"""Records as MongoDB documents and back, and the queries that find them.

A document holds every field of its record under its own name, and the key a second time as `_id`,
so that the unique index which every collection has anyway is the one on the key. Text is compared
by its bytes, hence by code point, as no collection has a collation
(https://www.mongodb.com/docs/manual/reference/bson-type-comparison-order/#strings).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import DecimalException
from functools import cache
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

import msgspec
from bson import Decimal128, Int64

from credit_payments.domain.decision import Range
from credit_payments.domain.records import NEVER, Record
from credit_payments.errors import CreditPaymentsError

R = TypeVar("R", bound=Record)
Document: TypeAlias = dict[str, Any]

PROBED_ROWS = 6
"""How many more rows of each group are read where many groups are asked for at once: few users
have more open lots than these, and reading them together costs a fifth."""


class Query(NamedTuple):
    """Documents of one collection, in an order; a limit of 0 is none."""

    collection: str
    where: Document
    order: tuple[tuple[str, int], ...] = ()
    limit: int = 0

    def stages(self) -> list[Document]:
        """The same as stages of an aggregation."""
        stages: list[Document] = [{"$match": self.where}]
        if self.order:
            stages.append({"$sort": dict(self.order)})
        if self.limit:
            stages.append({"$limit": self.limit})
        return stages


# -- records ----------------------------------------------------------------------------------


def encode(record: Record) -> Document:
    """The document of a record.

    Raises:
        CreditPaymentsError: a field that is a number here is none.
    """
    kind = type(record)
    document = {"_id": getattr(record, kind.KEY), **msgspec.structs.asdict(record)}
    for name in kind.DECIMALS:
        if document[name] is not None:
            document[name] = _decimal(kind, document[name])
    return document


def _decimal(kind: type[Record], text: str) -> Decimal128:
    """The number with all its decimals: 10.00 stays that, and is not cut to 10."""
    try:
        number = Decimal128(text)
    except DecimalException:
        number = None
    if number is None or str(number) != text:
        raise CreditPaymentsError(
            f"A row of {kind.TABLE} holds text where a number belongs.", code="row_refused"
        )
    return number


@cache
def decoder(kind: type[R]) -> Callable[[Document], R]:
    """What makes a record of a document."""
    names = kind.__struct_fields__
    values = itemgetter(*names)

    def decode(document: Document) -> R:
        for decimal in kind.DECIMALS:
            if document[decimal] is not None:
                document[decimal] = str(document[decimal])
        try:
            found = values(document)
        except KeyError:  # written before the kind had a field: that has its default
            return kind(**{name: _plain(document[name]) for name in names if name in document})
        # Few rows hold large numbers, and looking for them costs less than asking each value.
        return kind(*map(_plain, found)) if Int64 in map(type, found) else kind(*found)

    return decode


def _plain(value: Any) -> Any:
    """Numbers beyond 32 bits come back as a class of the driver's, which no JSON encoder knows."""
    return int(value) if type(value) is Int64 else value


def changes(before: Record | None, after: Record) -> Document:
    """The fields that an update sets: those that may change, and do, as far as that is known."""
    names, values = _mutable(type(after))
    if before is None:
        return dict(zip(names, values(after), strict=True))
    pairs = zip(names, values(before), values(after), strict=True)
    return {name: new for name, old, new in pairs if old != new}


@cache
def _mutable(kind: type[Record]) -> tuple[tuple[str, ...], Callable[[Record], tuple[Any, ...]]]:
    if len(kind.MUTABLE) == 1:
        one = attrgetter(kind.MUTABLE[0])
        return kind.MUTABLE, lambda record: (one(record),)
    return kind.MUTABLE, attrgetter(*kind.MUTABLE)


def blank(kind: type[Record], key: str) -> Document:
    """A document without meaning, but of the shape that the collection demands."""
    of_type: dict[object, str | int] = {str: "", int: 0}
    fields = {field.name: of_type.get(field.type) for field in msgspec.structs.fields(kind)}
    return {"_id": key, **fields, kind.KEY: key}


# -- queries ----------------------------------------------------------------------------------


def by_key(kind: type[Record], key: str) -> Query:
    """One row. Its key is text, and so no operator; without one the server need not even plan."""
    return Query(kind.TABLE, {"_id": str(key)})


def by_keys(kind: type[Record], keys: Sequence[str]) -> Query:
    """The rows of some keys, as they come."""
    return Query(kind.TABLE, {"_id": {"$in": list(keys)}})


def everything(kind: type[Record], order: Sequence[str]) -> Query:
    """Every row in an order."""
    return Query(kind.TABLE, {}, _ordered(kind, order))


def page(
    kind: type[Record],
    where: Mapping[str, str | int],
    order: Sequence[str],
    after: Sequence[str | int] | None,
    limit: int,
    *,
    descending: bool,
    ending: str | None = None,
) -> Query:
    """Rows by column values, in an order, from a position on."""
    conditions = _members(kind, where.items(), ending)
    if after is not None:
        behind = _behind(kind, order, after, "$lt" if descending else "$gt")
        # One of them must not take the other's place where both bound the same column.
        is_bound_twice = conditions.keys() & behind.keys()
        conditions = {"$and": [conditions, behind]} if is_bound_twice else conditions | behind
    return Query(kind.TABLE, conditions, _ordered(kind, order, -1 if descending else 1), limit)


def count(
    kind: type[Record], where: Mapping[str, str | int], limit: int, ending: str | None
) -> Query:
    """Rows by column values, as they come, up to a limit."""
    return Query(kind.TABLE, _members(kind, where.items(), ending), limit=limit)


def _behind(
    kind: type[Record], order: Sequence[str], after: Sequence[str | int], beyond: str
) -> Document:
    """Behind a position: further in the first column, or the same there and further in the next.

    The first column's bound stands apart, too: the index is entered there, and what has to be
    skipped is only as much as has the same value in it.
    """
    names = [_column(kind, name) for name in order]
    if len(names) == 1:
        return {names[0]: {beyond: after[0]}}
    steps = [
        {**dict(zip(names, after[:place], strict=False)), names[place]: {beyond: after[place]}}
        for place in range(len(names))
    ]
    return {names[0]: {f"{beyond}e": after[0]}, "$or": steps}


def series(asked: Range) -> Query:
    """The first rows of one series."""
    return _of_groups(asked, {"$eq": asked.series.group}, asked.limit)


def probe(alike: Sequence[Range]) -> Query:
    """All rows of series that differ in their groups only, as long as these are few.

    If as many come back as the limit is, there may be more: then each group is asked by itself.
    Unordered, since each group's rows are put in order afterwards anyway.
    """
    asked = alike[0]
    limit = len(alike) * (asked.limit + PROBED_ROWS)
    groups = {"$in": [one.series.group for one in alike]}
    return _of_groups(asked, groups, limit)._replace(order=())


def _of_groups(asked: Range, groups: Document, limit: int) -> Query:
    kind, _, equals, order, ending = asked.series
    where = {_group(asked): groups, **_members(kind, equals, ending)}
    return Query(kind.TABLE, where, _ordered(kind, order), limit)


def _members(
    kind: type[Record], equals: Iterable[tuple[str, str | int]], ending: str | None
) -> Document:
    """Which rows belong to a series, of its group, or to a listing.

    What never ends is left out in the very words of the partial index, which is used only where
    the server sees from the query that the index suffices
    (https://www.mongodb.com/docs/manual/core/index-partial/#query-coverage).
    """
    members = _equal(kind, equals)
    if ending is not None:
        members.setdefault(_column(kind, ending), {})["$lt"] = NEVER
    return members


def each(alike: Sequence[Range]) -> list[Document]:
    """An aggregation that gives, for each group, its first rows."""
    asked = alike[0]
    kind, _, equals, order, ending = asked.series
    members = _members(kind, equals, ending)
    first = Query(kind.TABLE, members, _ordered(kind, order), asked.limit)
    joined = {"from": kind.TABLE, "localField": "group", "foreignField": _group(asked)}
    return [
        # Expressions are what `$documents` takes: literally, or a group `$x` would be a field.
        {"$documents": [{"group": {"$literal": one.series.group}} for one in alike]},
        {"$lookup": {**joined, "pipeline": first.stages(), "as": "rows"}},
    ]


def together(queries: Sequence[Query]) -> list[Document]:
    """An aggregation that answers several queries at once: one document with an array for each.

    (`$unionWith` would do the same, and is refused in transactions.)
    """
    lookups: list[Document] = [
        {"$lookup": {"from": query.collection, "pipeline": query.stages(), "as": str(number)}}
        for number, query in enumerate(queries)
    ]
    return [{"$documents": [{}]}, *lookups]


def shared_out(alike: Sequence[Range], rows: Iterable[R]) -> dict[Range, list[R]]:
    """The rows of a probe, to each series its first ones in order."""
    kind, _, _, order, _ = alike[0].series
    group, position = attrgetter(str(kind.GROUP)), attrgetter(*order)
    by_group: dict[str, list[R]] = {}
    for row in sorted(rows, key=position):
        by_group.setdefault(group(row), []).append(row)
    return {asked: by_group.get(asked.series.group, [])[: asked.limit] for asked in alike}


def _equal(kind: type[Record], values: Iterable[tuple[str, str | int]]) -> Document:
    """With an operator, so that a value never is one itself, whatever it holds."""
    return {_column(kind, name): {"$eq": value} for name, value in values}


def _ordered(
    kind: type[Record], order: Sequence[str], direction: int = 1
) -> tuple[tuple[str, int], ...]:
    return tuple((_column(kind, name), direction) for name in order)


def _group(asked: Range) -> str:
    return _column(asked.series.kind, cast("str", asked.series.kind.GROUP))


def _column(kind: type[Record], name: str) -> str:
    """Column names come from our code alone; this keeps it so. The key is found as `_id`."""
    if name == kind.KEY:
        return "_id"
    if name not in kind.__struct_fields__:
        raise ValueError(f"{kind.TABLE} has no column {name!r}")
    return name
