"""See the module of that name among the unit tests, and conftest.py."""

from tests.unit.test_worker_failures import *  # noqa: F403 - its tests and fixtures
