"""Chunks as an array of Slurm jobs, through submitit."""

import getpass
import logging
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from al_engine.config import Slurm
from al_engine.errors import InputError
from flows.chunk import Chunk, label_chunk

if TYPE_CHECKING:
    import submitit

    from flows.elsewhere import Submit

log = logging.getLogger("al_engine.campaign")
ASK_EVERY_S = 10.0
"""How often Slurm is asked which jobs are left: of those that end well their files tell."""


@contextmanager
def slurm_jobs(where: Slurm, campaign: str, n_cores: int) -> Iterator["Submit"]:
    """Give what submits chunks; the jobs' files are in a folder here, which every node has to see.

    Raises:
        InputError: submitit or Slurm is missing, or Slurm refuses the options.
    """
    if shutil.which("sbatch") is None or shutil.which("srun") is None:
        raise InputError("labeling.where.kind = 'slurm': there is no sbatch on this machine")
    try:
        import submitit
    except ModuleNotFoundError:
        raise InputError("labeling.where.kind = 'slurm': pip install \"al-engine[slurm]\"") from None
    folder = tempfile.mkdtemp(prefix="al-engine-jobs-", dir=Path.cwd())
    executor = submitit.SlurmExecutor(folder)
    executor.update_parameters(
        job_name=f"al-engine-{campaign}",
        time=where.time_min,
        array_parallelism=where.n_jobs,
        cpus_per_task=n_cores,
        stderr_to_stdout=True,
        setup=[f"export PYTHONPATH={shlex.quote(os.pathsep.join(filter(None, sys.path)))}"],
        additional_parameters=where.options | ({"partition": where.partition} if where.partition else {}),
    )

    def submit(chunks: Sequence[Chunk]) -> _Array:
        try:
            with _outside_of_jobs():
                return _Array(executor.map_array(label_chunk, chunks))
        except submitit.core.utils.FailedJobError as error:
            raise InputError(f"labeling.where: Slurm refuses: {' '.join(str(error).split())}") from None

    yield submit
    shutil.rmtree(folder, ignore_errors=True)  # where something failed, it says why


@contextmanager
def _outside_of_jobs() -> Iterator[None]:
    """Hide that this is a job itself, whose options its own jobs would take over."""
    from submitit.helpers import clean_env

    configuration = os.environ.get("SLURM_CONF")
    with clean_env():
        if configuration:
            os.environ["SLURM_CONF"] = configuration
        yield


class _Array:
    """The jobs of an array, and how those ended that have."""

    def __init__(self, jobs: "list[submitit.Job[str]]") -> None:
        self._jobs = {job.job_id: job for job in jobs}
        self._ended: dict[str, str] = {}
        self._asked = time.monotonic()

    def outcomes(self) -> list[str | None]:
        now = time.monotonic()
        queued = set(self._jobs)
        if now > self._asked + ASK_EVERY_S:
            self._asked, queued = now, _queued(queued)
        for name, job in self._jobs.items():
            if name in self._ended:
                continue
            if job.paths.result_pickle.exists():
                self._ended[name] = _outcome(job)
            elif name not in queued:
                log.warning("Slurm job %s was ended; what it printed: %s", name, job.paths.stdout)
                self._ended[name] = ""
        return [self._ended.get(name) for name in self._jobs]

    def cancel(self) -> None:
        first = next(iter(self._jobs)).partition("_")[0]
        subprocess.run(["scancel", first], check=False, capture_output=True)  # noqa: S603, S607


def _outcome(job: "submitit.Job[str]") -> str:
    """Return what a job that ended says."""
    error = job.exception()
    if error is None:
        return job.result()
    last = str(error).strip().splitlines()[-1]
    log.warning("Slurm job %s failed: %s; what it printed: %s", job.job_id, last, job.paths.stdout)
    return ""


def _queued(jobs: set[str]) -> set[str]:
    """Return which of these jobs Slurm still has; all, where it does not answer."""
    line = ["squeue", "--noheader", "--array", "--format=%i", "--user", getpass.getuser()]
    done = subprocess.run(line, check=False, capture_output=True, text=True)  # noqa: S603
    return jobs if done.returncode else jobs.intersection(done.stdout.split())
