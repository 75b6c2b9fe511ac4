"""The flows as Prefect deployments, which the UI starts from a form, and the work pool that they run in."""

import contextlib
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists
from prefect.types.entrypoint import EntrypointType

from flows.campaign import campaign
from flows.labels import label
from flows.reports import audit, report

POOL = "local"


def deploy() -> dict[str, UUID]:
    """Register the flows with the Prefect server, again where they are; return the deployments by name.

    A worker imports them from the al-engine that is installed where it runs.
    """
    with get_client(sync_client=True) as client, contextlib.suppress(ObjectAlreadyExists):
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
    ids: dict[str, UUID] = {}
    for item in (campaign, label, report, audit):
        found: Any = item.to_deployment(
            name=POOL, work_pool_name=POOL, entrypoint_type=EntrypointType.MODULE_PATH
        )
        ids[f"{item.name}/{POOL}"] = found.apply()
    return ids


def is_deployed() -> bool:
    """Whether the Prefect server has the work pool of these deployments."""
    with get_client(sync_client=True) as client:
        return any(pool.name == POOL for pool in client.read_work_pools())
