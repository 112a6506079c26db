"""Shops that tests buy in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import two_users
from tests.support.live_shop import HOSTS, LiveShop, open_shop
from tests.support.slots import TwoUsers


@pytest.fixture(params=list(HOSTS))
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LiveShop]:
    """A shop on each framework."""
    with open_shop(HOSTS[request.param], tmp_path / "credits.db") as opened:
        yield opened
        assert opened.system.verify().ok


@pytest.fixture
def busy_shop(tmp_path: Path) -> Iterator[LiveShop]:
    """A shop where the least amount that can be charged, half a dollar, buys one credit."""
    with open_shop(HOSTS["flask"], tmp_path / "credits.db", rates={"usd": 2}) as opened:
        yield opened


@pytest.fixture(scope="module", params=list(two_users.FRAMEWORKS))
def two(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TwoUsers]:
    """Ada and Bob, who own the same kinds of things, in a shop on each framework."""
    with two_users.open_shop(request.param, tmp_path_factory.mktemp("two")) as shop:
        yield TwoUsers(shop, shop.whole(two_users.ADA), shop.whole(two_users.BOB))
