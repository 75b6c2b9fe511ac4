"""What orchestration costs: seconds of a generation outside training, exploration and labeling.

The same campaign through Prefect (a local server is started) and with the same functions called undecorated.

python benchmarks/overhead.py [--config configs/ethanol.yaml] [--max-generations 1]
"""

import argparse
import os
import tempfile
import time
from datetime import datetime
from pathlib import Path

from al_engine.config_file import load_config
from db.store import Store
from flows.assembly import register
from flows.driver import drive
from flows.server import prefect_server

ROOT = Path(__file__).parent.parent


def report(kind: str, url: str, seconds: float) -> None:
    with Store.open(url) as store:
        (name,) = store.campaign_names()
        outside, total, work = 0.0, 0.0, 0.0
        for g in store.generations(name):
            assert g.closed_at is not None
            wall = datetime.fromisoformat(g.closed_at) - datetime.fromisoformat(g.started_at)
            stages = g.seconds_training + g.seconds_exploring + g.seconds_labeling
            rest = wall.total_seconds() - stages
            outside, total, work = outside + rest, total + wall.total_seconds(), work + stages
            print(f"{kind}: generation {g.number}: {wall.total_seconds():.1f} s, {rest:.2f} s outside")
    share = 100 * outside / total
    print(
        f"{kind}: {outside:.2f} s of {total:.1f} s ({share:.1f} %) of the generations are outside the stages"
    )
    print(f"{kind}: {seconds - work:.1f} s of {seconds:.1f} s of the whole run are, start and end included")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "ethanol.yaml")
    parser.add_argument("--max-generations", type=int, default=1)
    arguments = parser.parse_args()
    config = load_config(arguments.config).model_copy(update={"max_generations": arguments.max_generations})
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("undecorated", "Prefect"):
            url = f"sqlite:///{folder}/{kind}.db"
            register(config, arguments.config, url)
            began = time.perf_counter()
            if kind == "undecorated":
                drive(config.name, url)
            else:
                os.environ["AL_ENGINE_HOME"] = folder
                with prefect_server():
                    started = time.perf_counter() - began
                    from flows.campaign import run_campaign

                    run_campaign(config.name, url)
                print(f"Prefect: the server was up after {started:.1f} s")
            report(kind, url, time.perf_counter() - began)


if __name__ == "__main__":
    main()
