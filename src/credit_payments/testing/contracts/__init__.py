"""What every adapter must keep, as tests that anybody can run against their own.

Example:
    A storage proves itself by one class in a test module; pytest runs all that it inherits::

        import pytest
        from credit_payments.testing.contracts import StorageContract

        class TestMyStorage(StorageContract):
            @pytest.fixture
            def storage(self, tmp_path):
                storage = MyStorage(tmp_path / "rows")
                yield storage
                storage.close()

    The fixture gives a new, empty storage each time. A second one, `reopen`, gives a function that
    opens the same database again, for the tests with several processes. The classes use nothing of
    a storage but the port (`credit_payments.ports.storage.Storage`).

They need pytest, which the `test` extra installs.
"""

from __future__ import annotations

from collections.abc import Iterator

try:
    import pytest
except ModuleNotFoundError as error:
    raise ImportError(
        "credit_payments.testing.contracts needs pytest: pip install 'credit-payments[test]'"
    ) from error

from credit_payments.ports.storage import Storage
from credit_payments.testing.contracts.posting import (
    GuardContract,
    PostingContract,
    ProcessContract,
    WatchContract,
)
from credit_payments.testing.contracts.reading import ReadingContract
from credit_payments.testing.contracts.rows import RowContract
from credit_payments.testing.contracts.series import SeriesContract
from credit_payments.testing.contracts.transactions import TransactionContract

__all__ = ["StorageContract"]


class StorageContract(
    RowContract,
    TransactionContract,
    ReadingContract,
    SeriesContract,
    PostingContract,
    GuardContract,
    WatchContract,
    ProcessContract,
):
    """Proves that a storage keeps the promises of `credit_payments.ports.storage.Storage`.

    Override the fixture `storage`; see the module's example.
    """

    @pytest.fixture
    def storage(self) -> Iterator[Storage]:
        """A new and empty storage, closed afterwards."""
        raise NotImplementedError("override the fixture `storage`")
