"""The flows as Prefect deployments, which the UI starts from a form, and the work pool that they run in."""

import contextlib
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.types.entrypoint import EntrypointType

from flows.campaign import campaign
from flows.labels import label
from flows.reports import audit, report


def deploy(pool: str = "local") -> dict[str, UUID]:
    """Register the flows with the Prefect server, again where they are; return the deployments by name.

    A worker of the pool, which runs processes, imports them from the al-engine that is installed there.
    """
    with get_client(sync_client=True) as client, contextlib.suppress(ObjectAlreadyExists):
        client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
    ids: dict[str, UUID] = {}
    for item in (campaign, label, report, audit):
        found: Any = item.to_deployment(
            name=pool, work_pool_name=pool, entrypoint_type=EntrypointType.MODULE_PATH
        )
        ids[f"{item.name}/{pool}"] = found.apply()
    return ids


def is_deployed(pool: str) -> bool:
    """Whether the Prefect server has the deployments of this pool."""
    with get_client(sync_client=True) as client, contextlib.suppress(ObjectNotFound):
        client.read_deployment_by_name(f"{campaign.name}/{pool}")
        return True
    return False
