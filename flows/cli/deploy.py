"""Commands that put campaigns into the hands of the Prefect UI: deploy, worker."""

import os
import signal
import subprocess
import sys
from typing import Annotated

from cyclopts import Parameter

from al_engine.errors import InputError
from flows.cli.options import Database

Pool = Annotated[str, Parameter(help="Prefect work pool: one for each kind of machine, such as gpu.")]


def deploy(*, pool: Pool = "local") -> int:
    """Register the flows with Prefect: campaigns can be started from the forms of its UI."""
    from flows.server import prefect_server

    with prefect_server() as api_url:
        from flows.deployments import deploy as register

        ui = api_url.removesuffix("/api")
        for name, number in register(pool).items():
            print(f"{name}: {ui}/v2/deployments/deployment/{number}/run")
    print("The forms are there while a server runs; al-engine worker starts one, and what they ask for.")
    return 0


def worker(*, database: Database = None, pool: Pool = "local") -> int:
    """Run what is started from the Prefect UI, until Ctrl-C; this machine computes."""
    from flows.assembly import database_address
    from flows.server import prefect_server

    os.environ["AL_ENGINE_DATABASE"] = database_address(database)
    with prefect_server() as api_url:
        from flows.deployments import is_deployed

        if not is_deployed(pool):
            hint = f"al-engine deploy --pool {pool}"
            raise InputError(f"the Prefect server has no deployments in pool {pool!r}: {hint}")
        ui = api_url.removesuffix("/api")
        print(f"Prefect UI: {ui}/v2/deployments   (Ctrl-C ends the worker)", flush=True)
        # a background job ignores SIGINT, and so would the worker, which ends by it
        signal.signal(signal.SIGINT, signal.default_int_handler)
        line = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process"]
        process = subprocess.Popen(line, start_new_session=True)  # noqa: S603
        try:
            return 1 if process.wait() else 0
        except KeyboardInterrupt:
            print("No new runs; the worker waits for those it has. Ctrl-C again leaves them alone.")
            process.send_signal(signal.SIGINT)
            try:
                process.wait()
            except KeyboardInterrupt:
                process.kill()
                process.wait()
            raise
