"""A campaign on water with an analytic potential, as small as it can be."""

from ase.build import molecule
from ase.calculators.emt import EMT

from al_engine.config import CampaignConfig, System
from al_engine.frames import Frame
from al_engine.records import Label, LabeledFrame, Origin

SMALL = {
    "reference": {"kind": "ase", "calculator": "ase.calculators.emt.EMT"},
    "initial": {"n_frames": 8},
    "model": {"n_members": 2, "n_channels": 4, "n_layers": 1, "n_radial": 4, "r_max_ang": 4.0},
    "training": {"n_steps": 30, "batch_size": 4},
    "exploration": {"sampler": {"n_walkers": 4, "n_steps": 20, "stride": 5, "temperatures_k": [300]}},
    "selection": {"n_frames": 3},
    "audit": {"n_frames": 4},
    "device": "cpu",
    "n_threads": 1,
}


TWO = (System(structure="water.xyz"),) * 2
MANY = SMALL["model"] | {"n_members": 4}


def config(**changes: object) -> CampaignConfig:
    values = {"name": "test", "systems": (System(structure="water.xyz"),)} | SMALL | changes
    return CampaignConfig.model_validate(values)


def water(seed: int = 0) -> Frame:
    atoms = molecule("H2O")
    atoms.rattle(0.05, seed=seed)
    return Frame.from_ase(atoms)


def labeled(
    frame: Frame, generation: int = 0, origin: Origin = Origin.INITIAL, group: str = ""
) -> LabeledFrame:
    atoms = frame.to_ase()
    atoms.calc = EMT()
    label = Label(frame.frame_id, "EMT", atoms.get_potential_energy(), atoms.get_forces())
    return LabeledFrame(frame, label, generation, origin, group or frame.frame_id)
