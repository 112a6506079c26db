"""See the module of that name among the unit tests, and conftest.py."""

from tests.unit.test_health import *  # noqa: F403 - its tests and fixtures
