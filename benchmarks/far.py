"""Labels from jobs elsewhere: their rate, and that nothing is lost where a job or a node goes.

python benchmarks/far.py dask throughput killed
python benchmarks/far.py slurm throughput killed limit drained prefect

A calculator that sleeps a second, 4 workers on this machine: processes of Dask, or jobs of a Slurm of one
node (as root; apt-get install slurm-wlm munge postgresql). Start-up is until the first call.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
from ase.calculators.emt import EMT

from al_engine.config import ASECalculator, Dask, Slurm
from al_engine.config_file import load_config
from al_engine.lifecycle import CandidateState
from db.store import Store
from flows.assembly import register
from flows.driver import run_generation
from flows.lease import leading

ROOT = Path(__file__).parent.parent
N_WORKERS = 4
NAME = "far"


class Slow(EMT):
    """EMT that takes its time and notes when and by which worker it is called; one call hangs if told so."""

    def __init__(self, folder: str, seconds: float) -> None:
        super().__init__()
        self._folder, self._seconds = Path(folder), seconds

    def calculate(self, atoms=None, *rest):
        super().calculate(atoms, *rest)
        begun = time.time()
        note = self._folder / f"{os.getpid()}-{begun}.call"
        note.write_text(f"{os.getppid()} {begun}")
        with suppress(FileNotFoundError):
            (self._folder / "hang").rename(self._folder / "hung")
            time.sleep(1000)
        time.sleep(self._seconds)
        with note.open("a") as file:
            file.write(f" {time.time()}")


def calls(folder: Path) -> dict[int, list[list[float]]]:
    """Beginning and, if it came to that, end of each call, by worker."""
    found = defaultdict(list)
    for note in folder.glob("*.call"):
        if text := note.read_text():
            worker, *times = text.split()
            found[int(worker)].append([float(t) for t in times])
    return {worker: sorted(times) for worker, times in found.items()}


def rate(found: dict[int, list[list[float]]]) -> tuple[float, int]:
    """Labels a second while all workers work at their first chunks, and of how many."""
    found = dict(sorted(found.items(), key=lambda item: item[1][0])[:N_WORKERS])
    first = max(times[0][0] for times in found.values())
    last = min(times[-1][1] for times in found.values())
    ends = [time for times in found.values() for _, time in times if first < time <= last]
    return len(ends) / (last - first), len(ends)


@contextmanager
def dask_workers(folder: Path) -> Iterator[str]:
    """Start a scheduler and 4 workers, as a person would, and give the scheduler's address."""
    from distributed import Client

    scheduler = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    worker = ["worker", "--nworkers", str(N_WORKERS), "--nthreads", "1", "--no-dashboard"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    dask = [sys.executable, "-m", "dask"]
    file = ["--scheduler-file", str(folder / "scheduler.json")]
    with ExitStack() as stack:
        for line in (scheduler, worker):
            process = subprocess.Popen([*dask, *line, *file], env=environment, stderr=subprocess.DEVNULL)
            stack.enter_context(process)
            stack.callback(process.terminate)
        with Client(scheduler_file=file[1], set_as_default=False) as client:
            client.wait_for_workers(N_WORKERS, timeout=60)
            address = client.scheduler.address
        yield address


@contextmanager
def workers(kind: str, folder: Path, time_min: int) -> Iterator[tuple[Dask | Slurm, str, str | None]]:
    """Start 4 of them; give where they are, a database that they reach, and Dask's address."""
    sys.path += [str(ROOT / "tests"), str(ROOT / "tests/db")]
    if kind == "dask":
        with dask_workers(folder) as address:
            yield Dask(kind="dask", address=address), f"sqlite:///{folder}/far.db", address
        return
    from postgres import server
    from slurm_node import slurm

    with server() as started, slurm(N_WORKERS):
        os.environ["AL_ENGINE_DATABASE"] = url = f"postgresql://{started.address}/postgres"
        try:
            yield Slurm(kind="slurm", n_jobs=N_WORKERS, time_min=time_min), url, None
        finally:
            del os.environ["AL_ENGINE_DATABASE"]


def set_up(folder: Path, url: str, where: Dask | Slurm, n_frames: int, seconds: float, chunk: int) -> None:
    """Store a campaign that waits for the labels of its initial frames."""
    smoke = load_config(ROOT / "configs" / "smoke.yaml")
    reference = ASECalculator(calculator="far.Slow", keywords={"folder": str(folder), "seconds": seconds})
    labeling = smoke.labeling.model_copy(update={"where": where, "chunk_size": chunk})
    initial = smoke.initial.model_copy(update={"n_frames": n_frames})
    config = smoke.model_copy(
        update={"name": NAME, "reference": reference, "initial": initial, "labeling": labeling}
    )
    register(config, ROOT / "configs" / "smoke.yaml", url)
    with Store.open(url) as store:
        store.open_generation(NAME, 0)


def label(url: str) -> None:
    with leading(NAME, url):
        run_generation(NAME, 0, url)


def job_processes() -> list[psutil.Process]:
    """The processes of Slurm's jobs that work on chunks."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            line = process.cmdline()
            if line[:1] == [sys.executable] and "submitit.core._submit" in line:
                found.append(process)
    return found


def kill_one(_folder: Path, cluster: str | None) -> None:
    if cluster is None:
        pid = job_processes()[0].pid
    else:
        from distributed import Client

        with Client(cluster, set_as_default=False) as client:
            pid = next(iter(client.run(os.getpid).values()))
    os.kill(pid, signal.SIGKILL)


def hang_one(folder: Path, _cluster: str | None) -> None:
    (folder / "hang").touch()


def drain(_folder: Path, _cluster: str | None) -> None:
    """Drain the node for 10 s, then let it fail: Slurm begins what ran anew, two minutes later."""
    from slurm_node import set_node

    set_node("DRAIN")
    time.sleep(10)
    set_node("RESUME")
    time.sleep(3)
    set_node("DOWN")
    time.sleep(3)
    set_node("RESUME")


def plainly(url: str) -> None:
    label(url)


def through_prefect(url: str) -> None:
    """Label in the sub-flow of the generation; raise where the server still has an open task run."""
    from flows.server import prefect_server

    with prefect_server():
        from prefect.client.orchestration import get_client
        from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

        from flows.generation import generation

        with leading(NAME, url):
            state = generation(NAME, 0, return_state=True)
        time.sleep(5)  # the server records task runs late
        this = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
        with get_client(sync_client=True) as client:
            states = [(run.name, run.state_name) for run in client.read_task_runs(flow_run_filter=this)]
        print(json.dumps(states))
        assert {state for _, state in states} == {"Completed"}, states


def run(
    kind: str,
    folder: Path,
    n_frames: int = 110,
    seconds: float = 1.0,
    chunk: int = 28,
    disturb: Callable[[Path, str | None], None] | None = None,
    after_s: float = 5.0,
    work: Callable[[str], None] = plainly,
    time_min: int = 5,
) -> dict[str, object]:
    """Label the frames, disturbed `after_s` after the first call; say how it went."""
    with workers(kind, folder, time_min) as (where, url, cluster):
        set_up(folder, url, where, n_frames, seconds, chunk)

        def trouble() -> None:
            while not calls(folder):
                time.sleep(0.1)
            time.sleep(after_s)
            disturb(folder, cluster)

        if disturb is not None:
            threading.Thread(target=trouble, daemon=True).start()
        began = time.time()
        work(url)
        wall = time.time() - began
        with Store.open(url) as store:
            states = [c.state for c in store.candidates(NAME, 0)]
            (generation,) = store.generations(NAME)
            n_labels = len(store.labeled(NAME))
    found = calls(folder)

    per_second, n_steady = rate(found) if disturb is None else (None, 0)
    return {
        "frames": len(states),
        "labeled": sum(state is CandidateState.LABELED for state in states),
        "labels_in_the_database": n_labels,
        "calls": sum(map(len, found.values())),
        "workers": len(found),
        "labels_per_worker": sorted(map(len, found.values())),
        "steady_labels_per_s": per_second and round(per_second, 2),
        "steady_over_labels": n_steady,
        "start_up_s": round(min(times[0][0] for times in found.values()) - began, 1),
        "all_working_after_s": round(max(times[0][0] for times in found.values()) - began, 1),
        "wall_s": round(wall, 1),
        "generation": generation.state.value,
    }


SCENARIOS = {
    "throughput": {},
    "killed": {"n_frames": 46, "chunk": 12, "disturb": kill_one},
    "limit": {"n_frames": 46, "chunk": 12, "disturb": hang_one, "time_min": 1},
    "drained": {"n_frames": 46, "chunk": 6, "disturb": drain},
    "prefect": {"n_frames": 498, "chunk": 25, "seconds": 0.05, "work": through_prefect},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["dask", "slurm"])
    parser.add_argument("scenario", nargs="+", choices=SCENARIOS)
    arguments = parser.parse_args()
    for name in arguments.scenario:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["AL_ENGINE_HOME"] = f"{folder}/home"
            found = run(arguments.kind, Path(folder), **SCENARIOS[name])
        print(name, json.dumps(found, indent=1), flush=True)
        if found["labeled"] != found["frames"] or found["labels_in_the_database"] != found["frames"]:
            sys.exit(f"{name}: labels are missing")


if __name__ == "__main__":
    main()
