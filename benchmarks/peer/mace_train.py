"""Trains one MACE 64x0e for a budget of CPU seconds and tests it; one JSON line a budget.

    python mace_train.py TRAIN.extxyz --isolated '{"1": -13.6, ...}' --tests NAME=FILE ... --seconds 60 120

A fresh network a budget, as every schedule has its own length. As in the paper on 3BPA and `mace_run_train`:
weighted squared errors (energy an atom 15, forces 1000), Adam with AMSGrad at 0.01, weight decay 5e-7,
gradient norm clipped at 10, batches of 5 frames, averaged weights (0.99). Unlike there, the rate falls by
half a cosine over the budget, because a plateau is not reached in minutes, and no frame is kept for
validation. With `--compile` the network and its double backward go through Inductor; the time that takes
counts. The budget is CPU time of this process and its children, one thread; tests are not counted.
"""

import argparse
import json
import math
import os

import numpy as np
import torch
from mace import modules
from mace_network import build, loader, read, tensors
from torch_ema import ExponentialMovingAverage


def cpu_seconds():
    """CPU time of this process and of its ended children."""
    return sum(os.times()[:4])


def parameter_groups(net):
    """Weight decay as `mace_run_train` gives it: on linear layers of the interactions and on products."""
    decayed = [
        p
        for n, p in net.named_parameters()
        if "linear.weight" in n or "skip_tp_full.weight" in n or "products" in n
    ]
    chosen = {id(p) for p in decayed}
    rest = [p for p in net.parameters() if id(p) not in chosen]
    return [{"params": decayed, "weight_decay": 5e-7}, {"params": rest, "weight_decay": 0.0}]


def train(configs, elements, arguments, seconds):
    """Train a fresh network; return it, its averaged weights and the number of steps."""
    batches = loader(configs, elements, arguments.batch_size, seed=arguments.seed)
    net = build(configs, elements, seed=arguments.seed, for_compile=arguments.compile)
    optimizer = torch.optim.Adam(parameter_groups(net), lr=arguments.rate, amsgrad=True)
    average = ExponentialMovingAverage(net.parameters(), decay=0.99)
    loss_function = modules.WeightedEnergyForcesLoss(
        energy_weight=arguments.energy_weight, forces_weight=1000
    )
    began, n_steps = cpu_seconds(), 0
    while True:
        for batch in batches:
            share = (cpu_seconds() - began) / seconds
            if share >= 1:
                return net, average, n_steps
            for group in optimizer.param_groups:
                group["lr"] = arguments.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))
            optimizer.zero_grad(set_to_none=True)
            loss_function(batch, net(tensors(batch), training=True)).backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 10.0)
            optimizer.step()
            average.update()
            n_steps += 1


def test(net, configs, elements):
    """RMSE of forces (eV/Å) and of energies (eV)."""
    force, energy = [], []
    for batch in loader(configs, elements, 16):
        out = net(tensors(batch), training=False)
        force.append((out["forces"] - batch.forces).detach().numpy().ravel())
        energy.append((out["energy"] - batch.energy).detach().numpy())
    force_rmse, energy_rmse = (float(np.sqrt(np.mean(np.concatenate(x) ** 2))) for x in (force, energy))
    return {"force_rmse_ev_per_ang": force_rmse, "energy_rmse_ev": energy_rmse}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("train")
    parser.add_argument("--isolated", type=json.loads, required=True)
    parser.add_argument("--tests", nargs="+", default=[])
    parser.add_argument("--seconds", nargs="+", type=float, default=[60, 120, 300, 600])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=0.01)
    parser.add_argument("--batch-size", type=int, default=5)
    parser.add_argument("--energy-weight", type=float, default=15)
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    isolated = {int(z): e for z, e in arguments.isolated.items()}
    elements = sorted(isolated)
    configs = read(arguments.train, isolated)
    tests = {name: read(file, isolated) for name, file in (t.split("=") for t in arguments.tests)}
    for seconds in arguments.seconds:
        net, average, n_steps = train(configs, elements, arguments, seconds)
        eager = build(configs, elements)
        with average.average_parameters():  # (buffers that `prepare` leaves out hold zeros)
            eager.load_state_dict(getattr(net, "_orig_mod", net).state_dict(), strict=False)
        errors = {name: test(eager, items, elements) for name, items in tests.items()}
        print(json.dumps({"cpu_s": seconds, "n_steps": n_steps, "tests": errors}), flush=True)


if __name__ == "__main__":
    main()
