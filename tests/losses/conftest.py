"""The tests of objectives share a fixture with those of transport."""

from tests.transport.conftest import without_type_checker as without_type_checker
