"""What the core asks of a cipher for single fields."""

from __future__ import annotations

from typing import Protocol


class FieldCipher(Protocol):
    """Encrypts the fields of rows, each for its place.

    An envelope is text for a column. It can be read only in the place that it was made for:
    `record` names the row (`stripe_customers/cus_1`), `field` its column, and an envelope that was
    moved to another one is refused as one that was changed. Of the same text in the same place
    each call makes another envelope, so that equal values do not show.

    Safe to use from many threads. Neither texts nor keys appear in `repr` or in an error.
    """

    def encrypt(self, text: str, *, record: str, field: str) -> str:
        """An envelope under the primary key."""
        ...

    def decrypt(self, envelope: str, *, record: str, field: str) -> str:
        """The text in an envelope.

        Raises `DecryptionFailed` for what is no envelope, was made for another place or changed
        since, or whose key is not there.
        """
        ...

    def blind(self, text: str, *, field: str) -> str:
        """The index by which a field is found without being read: equal for equal texts.

        It is a keyed hash, so that nobody without the key can try out texts, and each field has a
        key of its own, so that equal values of two fields do not show. Only exactly the same text
        is equal: what is to be found in several spellings is normalised before.
        """
        ...

    def is_current(self, envelope: str) -> bool:
        """Whether an envelope was made under the key that is primary now; False for no envelope."""
        ...
