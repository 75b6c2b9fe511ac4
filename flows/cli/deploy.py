"""Commands that put campaigns into the hands of the Prefect UI: deploy, worker."""

import os
import signal
import subprocess
import sys

from al_engine.errors import InputError
from flows.cli.options import Database


def deploy() -> int:
    """Register the flows with Prefect: campaigns can be started from the forms of its UI."""
    from flows.server import prefect_server

    with prefect_server() as api_url:
        from flows.deployments import deploy as register

        ui = api_url.removesuffix("/api")
        for name, number in register().items():
            print(f"{name}: {ui}/v2/deployments/deployment/{number}/run")
    print("The forms are there while a server runs; al-engine worker starts one, and what they ask for.")
    return 0


def worker(*, database: Database = None) -> int:
    """Run what is started from the Prefect UI, until Ctrl-C; this machine computes."""
    from flows.assembly import database_address
    from flows.server import prefect_server

    os.environ["AL_ENGINE_DATABASE"] = database_address(database)
    with prefect_server() as api_url:
        from flows.deployments import POOL, is_deployed

        if not is_deployed():
            raise InputError("the Prefect server has no deployments of al-engine yet: al-engine deploy")
        print(
            f"Prefect UI: {api_url.removesuffix('/api')}/deployments   (Ctrl-C ends the worker)", flush=True
        )
        line = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"]
        process = subprocess.Popen(line)  # noqa: S603
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            process.wait()
            raise
