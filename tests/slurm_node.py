"""A throw-away Slurm of one node for tests: its own folder, ports and processes; gone at the end."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
_CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MailProg=/bin/true
KillWait=10
NodeName={host} NodeAddr=127.0.0.1 CPUs={n_cores} State=UNKNOWN
PartitionName=debug Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Why there can be no Slurm here; empty where there can."""
    if os.geteuid() != 0:
        return "Slurm's daemons need root here"
    path = os.environ.get("PATH", "") + ":/usr/sbin"
    absent = [program for program in PROGRAMS if shutil.which(program, path=path) is None]
    return f"there is no {absent[0]}: apt-get install slurm-wlm munge" if absent else ""


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def slurm(n_cores: int = 4) -> Iterator[None]:
    """Start one; inside, SLURM_CONF names it. It pretends to have `n_cores`."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # short: socket paths have 107 bytes
    folder.chmod(0o755)
    user, munge = pwd.getpwnam("munge"), folder / "munge"
    for name in ("state", "spool", "munge"):
        (folder / name).mkdir()
    (munge / "key").write_bytes(os.urandom(1024))
    (munge / "key").chmod(0o400)
    for path in (munge, munge / "key"):
        os.chown(path, user.pw_uid, user.pw_gid)
    configuration = folder / "slurm.conf"
    host = socket.gethostname().split(".")[0]
    configuration.write_text(
        _CONFIGURATION.format(host=host, ports=(_port(), _port()), folder=folder, n_cores=n_cores)
    )
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(configuration)
    processes: list[subprocess.Popen[bytes]] = []
    log = (folder / "output").open("wb")

    def start(*command: str, **options: Any) -> None:
        processes.append(
            subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder, **options)
        )

    try:
        start(
            "/usr/sbin/munged", "-F", f"--key-file={munge}/key", f"--socket={munge}/socket",
            f"--pid-file={munge}/pid", f"--log-file={munge}/log", f"--seed-file={munge}/seed",
            user=user.pw_uid, group=user.pw_gid, extra_groups=[],
        )  # fmt: skip
        _until((munge / "socket").exists, folder / "output")
        start("/usr/sbin/slurmctld", "-D", "-f", str(configuration))
        start("/usr/sbin/slurmd", "-D", "-f", str(configuration))
        _until(lambda: node_state() == "idle", folder / "slurmctld.log")
        yield
    finally:
        subprocess.run(["scancel", "--user", "root"], check=False, capture_output=True)
        for process in reversed(processes):
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)
        log.close()
        shutil.rmtree(folder, ignore_errors=True)
        del os.environ["SLURM_CONF"]
        if before is not None:
            os.environ["SLURM_CONF"] = before


def node_state() -> str:
    """What Slurm says of its node: idle, mixed, allocated, drained ..."""
    line = ["sinfo", "--noheader", "--format=%T"]
    return subprocess.run(line, check=False, capture_output=True, text=True).stdout.strip()


def set_node(state: str) -> None:
    """Drain it, take it down or resume it."""
    host = socket.gethostname().split(".")[0]
    line = ["scontrol", "update", f"NodeName={host}", f"State={state}", "Reason=test"]
    subprocess.run(line, check=False, capture_output=True)  # one that is back is not resumed


def _until(is_up: Any, log: Path, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not is_up():
        if time.monotonic() > end:
            raise RuntimeError(log.read_text()[-3000:])
        time.sleep(0.1)
