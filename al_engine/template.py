"""The text of a commented campaign file; its values are the defaults of the configuration."""

from __future__ import annotations

import json
import re

from al_engine.config import CampaignConfig
from al_engine.samplers import Langevin

_COLUMN = 36
"""Where the comments begin."""
_XTB = """\
reference:  # the method that labels are computed with
  kind: xtb  # "xtb" here, or "ase" for any ASE calculator:
  method: {reference.method}  # kind: ase
  backend: {reference.backend}  # calculator: package.module.Class
                                      # keywords: {{...}}
"""
_ASE = """\
reference:  # the method that labels are computed with
  kind: ase  # any ASE calculator, by its import path; GFN-xTB is for molecules only
  calculator: ase.calculators.emt.EMT  # a rough one for Al, Cu, Ag, Au, Ni, Pd, Pt: name your own
  keywords: {{}}
"""
_TEXT = """\
# A campaign of al-engine. Start it, or go on where it was: al-engine run THIS_FILE
# Every value below is the default; a line that is left out keeps it.

name: {quoted_name}  # identifies the campaign in the database
seed: {seed}  # the same seed gives the same campaign
preset: {preset}  # or "accurate": wider networks, longer training; drop their lines below

systems:  # one or more molecules or cells
  - structure: {quoted_structure}  # a file that ASE reads; a relative path starts at this file
    charge: {charge}
    multiplicity: {multiplicity}  # spin multiplicity 2S + 1

{reference_text}
labeling:
  time_limit_s: {labeling.time_limit_s:g}  # a calculation that takes longer counts as failed
  memory_limit_gb: null  # of each process; null: an equal share of the machine's memory
  force_cap_ev_per_ang: {labeling.force_cap_ev_per_ang:g} # a label with a larger component is refused
  chunk_size: {labeling.chunk_size}  # frames in one task of the Prefect UI, or one job of a queue
  stop_after_failures: {labeling.stop_after_failures}  # a task whose first labels all fail stops; 0: never
  # n_workers: 2                      # calculations at a time; default: one a core
  # where: {{kind: slurm, time_min: 60, partition: cpu}}  # or {{kind: dask, address: "tcp://host:8786"}}

initial:  # generation 0, before there is a model
  n_frames: {initial.n_frames}  # copies of the structures, each atom displaced at random ...
  rattle_ang: [{initial.rattle_ang[0]:g}, {initial.rattle_ang[1]:g}]  # ... by sds from first to second

model:  # the networks of the ensemble
  n_members: {model.n_members}  # more: better uncertainty, and as much slower
  n_channels: {model.n_channels}  # width
  n_layers: {model.n_layers}  # message passing layers
  n_radial: {model.n_radial}  # radial functions
  r_max_ang: {model.r_max_ang:g}  # atoms farther apart do not see each other directly

training:
  objective: {training.objective}  # coherent likelihood; or "mse", without a noise model
  n_steps: {training.n_steps}  # optimizer steps
  warmup_share: {training.warmup_share:g}  # share of them with squared errors, before the likelihood
  batch_size: {training.batch_size}
  learning_rate: {training.learning_rate:g}
  energy_weight: {training.energy_weight:g}  # of the energy in the squared error, relative to forces
  ema_decay: {training.ema_decay:g}  # running mean of the weights

exploration:
  sampler:
    kind: langevin  # NVT dynamics with a Langevin thermostat; more: docs/samplers.md
    temperatures_k: [{temperatures}]  # walkers take them in turn
    n_walkers: {sampler.n_walkers}
    n_steps: {sampler.n_steps}  # planned for each walker
    timestep_fs: {sampler.timestep_fs:g}
    friction_per_fs: {sampler.friction_per_fs:g}
    stride: {sampler.stride}  # every so many steps a frame becomes a candidate
  extra_samplers: []  # others, of any kind, that search beside it
  exits:  # a walker ends early ...
    force_error_ev_per_ang: {exits.force_error_ev_per_ang:g}  # ... where a force may be wrong by more
    force_sd_ev_per_ang: null  # ... or at this force sd; null: at what the audits say of errors
    min_distance_ang: {exits.min_distance_ang:g}  # ... where two atoms are closer
    energy_drift_ev_per_atom: {exits.energy_drift_ev_per_atom:g}  # ... where its energy changed by more
    temperature_factor: {exits.temperature_factor:g}  # ... where it is so many times hotter than set
    bond_stretch: null  # ... where a bond is so many times its covalent length; null: may break

selection:
  n_frames: {selection.n_frames}  # labels a generation, beside the audit
  score: {selection.score}  # or force_sd(_epistemic), energy_sd(_aleatoric), random
  diversity: {selection.diversity}  # score times distance to known frames; or farthest, lcmd, none
  threshold_ev_per_ang: {selection.threshold_ev_per_ang:g}  # a smaller force sd is not labeled
  min_distance: {selection.min_distance:g}  # a frame nearer to a known one is known, too
  approve: false  # true: a person is asked before the frames of a generation are labeled

audit:
  n_frames: {audit.n_frames}  # planned steps drawn uniformly, labeled to judge the model

stop:  # when the campaign may be called converged
  tolerance_ev_per_ang: {stop.tolerance_ev_per_ang:g} # a frame fails where a force component is wrong by more
  fraction: {stop.fraction:g}  # share of the planned steps that must not fail ...
  confidence: {stop.confidence:g}  # ... with this confidence

max_generations: {max_generations}  # with a model; the initial one is not counted
budget:
  labels: null  # at most so many labels in all; null: no limit
  hours: null  # at most so many hours of all stages together
wall_time_h: null  # a run stops after it, to go on later; a bit less than a queue allows
test_set: null  # a labeled file, evaluated each generation and never trained on
device: {device}  # or cpu, cuda
n_threads: null  # of the networks; null: 1 for small frames, else up to 4. Stored
"""


def campaign_text(
    name: str, structure: str, *, charge: int = 0, multiplicity: int = 1, periodic: bool = False
) -> str:
    """Return a commented campaign file for one structure.

    Args:
        name: Of the campaign.
        structure: Path of its file, as it should stand in the campaign file.
        charge: Total charge, e.
        multiplicity: Spin multiplicity 2S + 1.
        periodic: Whether the structure is; the reference cannot be GFN-xTB then.
    """
    config = CampaignConfig.model_validate({"name": name, "systems": ({"structure": structure},)})
    sampler = Langevin()
    values = {key: getattr(config, key) for key in CampaignConfig.model_fields} | {
        "quoted_name": json.dumps(name),
        "quoted_structure": json.dumps(structure),
        "charge": charge,
        "multiplicity": multiplicity,
        "sampler": sampler,
        "exits": config.exploration.exits,
        "temperatures": ", ".join(f"{t:g}" for t in sampler.temperatures_k),
    }
    reference = (_ASE if periodic else _XTB).format(**values)
    text = _TEXT.format(reference_text=reference, **values)
    return re.sub(r"(?m)^( *[^#\s].*?) +# ", lambda m: f"{m[1]:<{_COLUMN}}  # ", text)
