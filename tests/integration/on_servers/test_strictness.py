"""See the module of that name among the unit tests, and conftest.py."""

from tests.unit.test_strictness import (
    strict_shop,  # noqa: F401 - a fixture of theirs
    test_a_character_that_postgresql_cannot_keep_is_another_one_on_every_database,  # noqa: F401
)
