"""Trains MACE 64x0e for a budget of CPU seconds and tests it; one line of JSON a budget.

    python mace_train.py TRAIN.extxyz --isolated '{"1": -13.6, ...}' --tests NAME=FILE ... --seconds 60 120

A fresh network a budget, as every schedule has its own length; with `--members 4` a committee, each network
a fourth of the budget, tested by the mean. As in the paper on 3BPA and in `mace_run_train`: weighted squared
errors (energy an atom 15, forces 1000), Adam with AMSGrad at 0.01, weight decay 5e-7, gradient norm clipped
at 10, batches of 5 frames, averaged weights (0.99). Unlike there, the rate falls by half a cosine over the
budget, because a plateau is not reached in minutes, and no frame is kept for validation. The budget is CPU
time of one thread. With `--compiled` the network and its double backward go through Inductor, before the
clock starts: a compiled graph is kept on disk. Tests are not counted.
"""

import argparse
import itertools
import json
import math
import time

import torch
from mace import modules
from mace_network import build, loader, read, tensors
from torch_ema import ExponentialMovingAverage

BATCH_SIZE = 5


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


def train(configs, elements, arguments, *, seconds, seed):
    """Train a fresh network; return it with its averaged weights, eager, and the number of steps."""
    batches = loader(configs, elements, BATCH_SIZE, seed=seed)
    net = build(configs, elements, seed=seed, for_compile=arguments.compiled)
    optimizer = torch.optim.Adam(parameter_groups(net), lr=arguments.rate, amsgrad=True)
    average = ExponentialMovingAverage(net.parameters(), decay=0.99)
    loss_function = modules.WeightedEnergyForcesLoss(energy_weight=15, forces_weight=1000)

    def loss_of(batch):
        return loss_function(batch, net(tensors(batch), training=True))

    for batch in itertools.islice(batches, 3):  # TorchScript specializes, Inductor compiles
        loss_of(batch).backward()
    began, n_steps, share = time.process_time(), 0, 0.0
    while share < 1:
        for batch in batches:
            for group in optimizer.param_groups:
                group["lr"] = arguments.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))
            optimizer.zero_grad(set_to_none=True)
            loss_of(batch).backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 10.0)
            optimizer.step()
            average.update()
            n_steps += 1
            share = (time.process_time() - began) / seconds
            if share >= 1:
                break
    eager = build(configs, elements)
    with average.average_parameters():  # the buffers that `prepare` leaves out hold zeros
        eager.load_state_dict(getattr(net, "_orig_mod", net).state_dict(), strict=False)
    return eager, n_steps


def test(nets, configs, elements):
    """RMSE of the mean forces (eV/Å) and energies (eV)."""
    forces, energies = [], []
    for batch in loader(configs, elements, 16):
        outs = [net(tensors(batch), training=False) for net in nets]
        forces.append(torch.stack([out["forces"] for out in outs]).mean(dim=0) - batch.forces)
        energies.append(torch.stack([out["energy"] for out in outs]).mean(dim=0) - batch.energy)
    rmse = [float((torch.cat(errors).double() ** 2).mean().sqrt()) for errors in (forces, energies)]
    return {"force_rmse_ev_per_ang": rmse[0], "energy_rmse_ev": rmse[1]}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("train")
    parser.add_argument("--isolated", type=json.loads, required=True)
    parser.add_argument("--tests", nargs="+", default=[])
    parser.add_argument("--seconds", nargs="+", type=float, default=[60, 120, 300, 600])
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=0.01)
    parser.add_argument("--compiled", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    isolated = {int(z): e for z, e in arguments.isolated.items()}
    configs = read(arguments.train, isolated)
    elements = sorted({int(z) for c in configs for z in c.atomic_numbers})
    tests = {name: read(file, isolated) for name, file in (t.split("=") for t in arguments.tests)}
    for seconds in arguments.seconds:
        share = seconds / arguments.members
        seeds = range(arguments.seed, arguments.seed + arguments.members)
        trained = [train(configs, elements, arguments, seconds=share, seed=seed) for seed in seeds]
        nets = [net for net, _ in trained]
        errors = {name: test(nets, items, elements) for name, items in tests.items()}
        n_steps = [n for _, n in trained]
        print(json.dumps({"cpu_s": seconds, "n_steps": n_steps, "tests": errors}), flush=True)


if __name__ == "__main__":
    main()
