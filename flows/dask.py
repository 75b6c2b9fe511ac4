"""Chunks on the workers of a Dask cluster, through prefect-dask."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from al_engine.config import Dask
from al_engine.errors import AlEngineError, InputError
from flows.chunk import Chunk, label_chunk

if TYPE_CHECKING:
    from flows.elsewhere import Submit

log = logging.getLogger("al_engine.campaign")


@contextmanager
def dask_jobs(where: Dask) -> Iterator["Submit"]:
    """Give what submits chunks.

    They are no Prefect tasks there: the workers need not know Prefect's server, and one that is killed
    leaves no task run open.

    Raises:
        AlEngineError: prefect-dask is missing, or the scheduler does not answer.
    """
    try:
        from prefect_dask.task_runners import DaskTaskRunner
    except ModuleNotFoundError:
        raise InputError("labeling.where.kind = 'dask': pip install \"al-engine[dask]\"") from None
    with DaskTaskRunner(address=where.address) as runner:
        try:
            client = runner.client
        except OSError as error:
            raise AlEngineError(f"labeling.where.address = {where.address!r}: {error}") from None
        yield lambda chunks: _Futures(client, chunks)


class _Futures:
    """Chunks that were submitted."""

    def __init__(self, client: Any, chunks: Sequence[Chunk]) -> None:
        self._client = client
        self._futures = [client.submit(label_chunk, chunk, pure=False) for chunk in chunks]
        self._ended: dict[int, str] = {}

    def outcomes(self) -> list[str | None]:
        for number, future in enumerate(self._futures):
            if number not in self._ended and future.done():
                self._ended[number] = self._outcome(future)
        return [self._ended.get(number) for number in range(len(self._futures))]

    def cancel(self) -> None:
        self._client.cancel(self._futures)

    @staticmethod
    def _outcome(future: Any) -> str:
        if future.status == "finished":
            return str(future.result())
        log.warning(
            "a job on Dask was ended: %s", future.exception() if future.status == "error" else future.status
        )
        return ""
