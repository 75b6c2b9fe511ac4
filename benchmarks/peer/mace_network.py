"""MACE 64x0e as `mace_run_train` builds it, and its batches. Runs in the peer's environment."""

import os
import warnings

os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"  # e3nn 0.4.4 loads its constants by pickle
warnings.filterwarnings("ignore")

# ruff: noqa: E402
import ase.io
import numpy as np
import torch
import torch._dynamo
from e3nn import o3
from mace import data, modules, tools
from mace.tools.compile import prepare

torch.set_default_dtype(torch.float32)
torch._dynamo.config.recompile_limit = 100  # every network and batch shape is compiled on its own
R_MAX = 5.0


def read(path, isolated):
    """Configurations of a labeled file, energies relative to isolated atoms (Z -> eV)."""
    configs = []
    for atoms in ase.io.iread(path, ":", format="extxyz"):
        energy = atoms.get_potential_energy() - sum(isolated[int(z)] for z in atoms.numbers)
        properties = {"energy": energy, "forces": atoms.get_forces()}
        weights = {"energy": 1.0, "forces": 1.0}
        cell, pbc = np.array(atoms.cell), tuple(atoms.pbc)
        configs.append(data.Configuration(atoms.numbers, atoms.positions, properties, weights, cell, pbc))
    return configs


def loader(configs, elements, batch_size, *, seed=None):
    """Batches of one shape; in random order, the last dropped, where a seed is given.

    Frames are padded to the largest number of edges by edges beyond the cut-off, which add nothing: a
    compiled graph is made for one shape.
    """
    table = tools.AtomicNumberTable(list(elements))
    graphs = [data.AtomicData.from_config(c, z_table=table, cutoff=R_MAX) for c in configs]
    most = max(g.edge_index.shape[1] for g in graphs)
    far = torch.tensor([[2 * R_MAX, 0.0, 0.0]])
    for graph in graphs:
        n_more = most - graph.edge_index.shape[1]
        graph.edge_index = torch.cat([graph.edge_index, graph.edge_index.new_zeros(2, n_more)], dim=1)
        graph.shifts = torch.cat([graph.shifts, far.expand(n_more, 3)])
        graph.unit_shifts = torch.cat([graph.unit_shifts, torch.zeros(n_more, 3)])
    shuffled = seed is not None
    generator = torch.Generator().manual_seed(seed) if shuffled else None
    return tools.torch_geometric.dataloader.DataLoader(
        graphs, batch_size=batch_size, shuffle=shuffled, drop_last=shuffled, generator=generator
    )


def tensors(batch):
    """What the network reads of a batch."""
    values = {k: v for k, v in batch.to_dict().items() if torch.is_tensor(v)}
    values["positions"].requires_grad_()
    return values


def build(configs, elements, *, seed=0, for_compile=False):
    """A fresh network scaled by the configurations it will be trained on."""
    graphs = loader(configs, elements, 32)
    zeros = np.zeros(len(elements))
    _, rms = modules.compute_mean_rms_energy_forces(graphs, zeros)
    neighbors = np.mean(
        [
            data.neighborhood.get_neighborhood(c.positions, R_MAX)[0].shape[1] / len(c.positions)
            for c in configs
        ]
    )

    def make():
        torch.manual_seed(seed)
        return modules.ScaleShiftMACE(
            r_max=R_MAX,
            num_bessel=8,
            num_polynomial_cutoff=5,
            max_ell=3,
            interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
            interaction_cls_first=modules.interaction_classes["RealAgnosticInteractionBlock"],
            num_interactions=2,
            num_elements=len(elements),
            hidden_irreps=o3.Irreps("64x0e"),
            MLP_irreps=o3.Irreps("16x0e"),
            atomic_energies=zeros,
            avg_num_neighbors=float(neighbors),
            atomic_numbers=list(elements),
            correlation=3,
            gate=torch.nn.functional.silu,
            radial_MLP=[64, 64, 64],
            use_reduced_cg=False,
            atomic_inter_scale=rms,
            atomic_inter_shift=[0.0],
        )

    return torch.compile(prepare(make)(), dynamic=False) if for_compile else make()
