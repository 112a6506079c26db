"""That a comparison with what is not installed is left out, before a server is asked."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module, metadata

import pytest

measure = import_module("benchmarks.measure")
postgres = import_module("benchmarks.peers.postgres")

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


def test_without_the_peers_there_are_no_rows_and_no_server_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nothing(**_: object) -> Iterator[metadata.Distribution]:
        return iter(())

    monkeypatch.setattr(metadata, "distributions", nothing)
    assert list(postgres.rows(measure.QUICK, NOWHERE)) == []
