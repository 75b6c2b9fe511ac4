"""Long walks on the potentials of a campaign: who survives, and whether energy is conserved.

    python benchmarks/stability.py DATABASE_URL [--ps 10] [--walkers 32] [--kelvin 500]

Of the ensemble of generation 1 and of the newest one: walkers from the campaign's structures, once with a
Langevin thermostat, then at constant energy with 0.5 fs. A walker is lost where atoms clash (0.5 Å), the
potential energy leaves that of the start by 1 eV/atom, or the temperature rises sixfold. The drift is the
slope of the total energy of each walker that survived; torn ones are those with a bond beyond 1.5 times its
start.
"""

import argparse
import time

import numpy as np
import torch

from al_engine.config import Exits
from al_engine.exploration.walkers import Start, Walk, walk
from al_engine.model.ensemble import Ensemble
from al_engine.records import ExitReason
from al_engine.samplers import Langevin, Nve
from al_engine.units import KB
from db.store import Store

TIMESTEP_FS = 0.5
STRIDE = 40
BLIND = Exits(force_sd_ev_per_ang=1e6)
"""No walker is stopped because the ensemble is uncertain."""
TORN = 1.5


def drifts(walks: list[Walk]) -> np.ndarray:
    """Slopes of the total energies, meV/atom/ps."""
    found = []
    for w in walks:
        n = w.start.frame.n_atoms
        step, potential, kelvin = w.trace[:, :3].astype(float).T
        total = potential - potential[0] + 1.5 * n * KB * kelvin
        found.append(1000 * np.polyfit(step * TIMESTEP_FS / 1000, total / n, 1)[0])
    return np.array(found)


def stretch(w: Walk) -> float:
    """The largest bond on the way over what it was at the start."""
    first = w.start.frame.to_ase().get_all_distances()
    bonds = (first > 0) & (first < 1.7)
    last = (frame.to_ase().get_all_distances()[bonds] / first[bonds] for _, frame in w.snapshots)
    return max(float(ratio.max()) for ratio in last)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--ps", type=float, default=10.0)
    parser.add_argument("--walkers", type=int, default=32)
    parser.add_argument("--kelvin", type=float, default=500.0)
    arguments = parser.parse_args()
    with Store.open(arguments.url) as store:
        (name,) = store.campaign_names()
        campaign = store.campaign(name)
        assert campaign is not None
        starts = store.frames(campaign.start_frame_ids)
        numbers = [g.number for g in store.generations(name) if store.model(name, g.number)]
        models = {n: store.model(name, n) for n in (numbers[0], numbers[-1])}
    torch.set_num_threads(1)
    n_steps = round(1000 * arguments.ps / TIMESTEP_FS)
    plain = {
        "temperatures_k": (arguments.kelvin,),
        "n_walkers": arguments.walkers,
        "n_steps": n_steps,
        "timestep_fs": TIMESTEP_FS,
        "stride": STRIDE,
    }
    print("| ensemble | dynamics | survive | torn | exits | drift, meV/atom/ps | wall s |")
    print("|---" * 7 + "|")
    for number, model in models.items():
        ensemble = Ensemble.from_bytes(model.weights, device="cpu")
        begins = [Start(starts[k % len(starts)], arguments.kelvin, seed=k) for k in range(arguments.walkers)]
        for settings in (Langevin(**plain), Nve(**plain)):
            began = time.monotonic()
            walks = walk(ensemble, begins, settings, BLIND)
            alive = [w for w in walks if w.exit_reason is ExitReason.STEP_LIMIT]
            exits = sorted({str(w.exit_reason) for w in walks if w not in alive})
            torn = sum(stretch(w) > TORN for w in alive)
            slopes = drifts(alive) if isinstance(settings, Nve) and alive else None
            drift = "" if slopes is None else f"{slopes.mean():+.3f} ± {slopes.std():.3f}"
            print(
                f"| generation {number} | {settings.kind} | {len(alive)} of {len(walks)} | {torn} "
                f"| {', '.join(exits)} | {drift} | {time.monotonic() - began:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
