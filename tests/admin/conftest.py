"""Fixtures of the tests of the HTTP API."""

from __future__ import annotations

import pytest

from tests.support.admin_client import AdminClient


@pytest.fixture
def web() -> AdminClient:
    return AdminClient()
