"""Prefect's API for the tests of the flows."""

from collections.abc import Iterator

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL, temporary_settings


@pytest.fixture
def client(prefect_api: str) -> Iterator[SyncPrefectClient]:
    """A client of the tests' server."""
    with temporary_settings({PREFECT_API_URL: prefect_api}), get_client(sync_client=True) as found:
        yield found
