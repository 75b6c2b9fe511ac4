"""What a campaign file may say: frozen, strict sections. A config is data: it opens nothing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)

from al_engine.samplers import Langevin, Sampler
from al_engine.section import Section

if TYPE_CHECKING:
    from al_engine.records import Campaign

Share = Annotated[float, Field(gt=0, lt=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class System(Section):
    """One molecule or cell that the campaign is about."""

    structure: str
    """A structure file that ASE reads; a relative path starts at the campaign file."""
    charge: int = 0
    multiplicity: PositiveInt | None = None
    """Spin multiplicity 2S + 1; default: the lowest that the number of electrons allows."""
    temperatures_k: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] | None = None
    """Of its walkers; default: those of the sampler."""


class XTB(Section):
    """GFN1-xTB or GFN2-xTB, molecules only."""

    kind: Literal["xtb"] = "xtb"
    method: Literal["GFN2-xTB", "GFN1-xTB"] = "GFN2-xTB"
    backend: Literal["auto", "xtb-python", "tblite"] = "auto"
    accuracy: Annotated[float, Field(ge=1e-4, le=1000)] = 1.0
    """Of the self-consistent charges, smaller is tighter; xtb cuts off values beyond these."""
    electronic_temperature_k: PositiveFloat = 300.0
    max_iterations: PositiveInt = 250


class ASECalculator(Section):
    """Any ASE calculator, by import path and keywords."""

    kind: Literal["ase"] = "ase"
    calculator: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*\.[A-Za-z_]\w*$")]
    """Import path of the class, such as ase.calculators.emt.EMT."""
    keywords: dict[str, Any] = Field(default_factory=dict)


class FileLabels(Section):
    """The labels of a file, for campaigns on its frames (sampler `pool`): nothing is computed."""

    kind: Literal["labels_of_file"] = "labels_of_file"
    file: str
    """Labeled frames as `import` reads them; a relative path starts at the campaign file."""


class Slurm(Section):
    """Labels from arrays of Slurm jobs, a chunk of frames each; the database must be PostgreSQL."""

    kind: Literal["slurm"]
    n_jobs: PositiveInt = 16
    """Jobs that run at a time."""
    time_min: PositiveInt = 60
    """Limit of a job; it begins no label that would not end before."""
    partition: str | None = None
    options: dict[str, str | int] = Field(default_factory=dict)
    """More options of sbatch by their long names, such as {account: chemistry, mem: 4G}."""


class Dask(Section):
    """Labels from the workers of a Dask cluster, a chunk of frames each."""

    kind: Literal["dask"]
    address: Annotated[str, Field(pattern=r"^\w+://.+")]
    """Of its scheduler, such as tcp://host:8786."""


class Labeling(Section):
    """How reference calculations are run."""

    where: Annotated[Slurm | Dask, Field(discriminator="kind")] | None = None
    """Default: on this machine."""

    time_limit_s: PositiveFloat = 300.0
    memory_limit_gb: PositiveFloat | None = None
    """Of each process; default: an equal share of the machine's memory, at least 2 GB."""
    n_workers: PositiveInt | None = None
    """Processes at a time; default: the number of cores, or one in each job elsewhere."""
    force_cap_ev_per_ang: PositiveFloat = 100.0
    """A label with a larger force component is refused."""
    chunk_size: PositiveInt = 25
    """Frames a Prefect task, or a job elsewhere."""
    stop_after_failures: NonNegativeInt = 8
    """Where so many of a task fail before its first label, the campaign stops with the reason and stores
    none of them; 0: it never does."""

    @property
    def task_size(self) -> int:
        """At most so many frames a Prefect task; one task looks after all jobs elsewhere."""
        return self.chunk_size if self.where is None else sys.maxsize


class Initial(Section):
    """Generation 0: frames labeled before there is a model."""

    n_frames: PositiveInt = 24
    """Copies of the given structures with each atom displaced at random."""
    rattle_ang: tuple[PositiveFloat, PositiveFloat] = (0.02, 0.12)
    """Standard deviation of a displacement component: spread evenly from the first to the second, Å."""


class Model(Section):
    """Size of the networks."""

    n_members: Annotated[int, Field(ge=2, le=16)] = 4
    n_channels: PositiveInt = 32
    n_layers: PositiveInt = 2
    n_radial: PositiveInt = 8
    r_max_ang: PositiveFloat = 5.0


class Training(Section):
    """How the ensemble is trained; the length is in steps, so that a run repeats bit by bit."""

    objective: Literal["coherent", "white", "mse"] = "coherent"
    """White: independent noises of energy and forces, the baseline; mse: squared errors to the end."""
    length_scale: Literal["local", "global"] = "local"
    """Coherent force noise from the energy noise of the atom itself, or of the whole frame."""
    beta: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Weight of a frame's likelihood: sigma^(2 beta) (beta-NLL); 0 is the likelihood itself."""
    start: Literal["fresh", "warm"] = "fresh"
    """Warm: from the newest promoted networks, with fewer steps; fresh where there are none."""
    n_steps: PositiveInt = 800
    warmup_share: Share = 0.9
    """Share of the steps with mean squared errors, before the likelihood."""
    batch_size: PositiveInt = 8
    """Frames a step, if all have the average size."""
    max_atoms_per_batch: PositiveInt = 1024
    """Bounds the memory; a larger frame comes alone."""
    learning_rate: PositiveFloat = 0.02
    energy_weight: PositiveFloat = 1.0
    """Weight of the energy an atom (1/Å²) in the mean squared error, relative to a force component."""
    ema_decay: Share = 0.98
    compile: bool | None = None
    """Whether to compile the step (a minute or two at the start); default: where a training is long."""


class Exits(Section):
    """When a walker stops before its last step."""

    force_error_ev_per_ang: PositiveFloat = 1.5
    """Where a force component may be wrong by more: the ceiling of an atom's predicted force sd is this
    over the 90 % quantile of error / sd on the newest audit, or this itself where there is no audit yet."""
    force_sd_ev_per_ang: PositiveFloat | None = None
    """That ceiling itself, whatever the audits say; None: as above."""
    min_distance_ang: PositiveFloat = 0.5
    energy_drift_ev_per_atom: PositiveFloat = 1.0
    """Potential energy above or below that of the start."""
    temperature_factor: Annotated[float, Field(gt=1)] = 6.0
    """Instantaneous over set temperature."""
    bond_stretch: Annotated[float, Field(gt=1.25)] | None = None
    """Largest bond over the sum of its covalent radii, for the bonds of the start; None: bonds may break."""

    @property
    def max_force_sd(self) -> float:
        """Ceiling of the force sd before anything is known of the errors, eV/Å."""
        return self.force_sd_ev_per_ang or self.force_error_ev_per_ang


class Exploration(Section):
    """How a generation searches for frames worth labeling."""

    sampler: Sampler = Langevin()
    extra_samplers: tuple[Sampler, ...] = ()
    """Others that search beside it, in the same generation."""
    exits: Exits = Exits()

    @property
    def samplers(self) -> tuple[Sampler, ...]:
        """All of them."""
        return (self.sampler, *self.extra_samplers)


Score = Literal["information", "force_sd", "force_sd_epistemic", "energy_sd", "energy_sd_aleatoric", "random"]
Diversity = Literal["distance", "farthest", "lcmd", "none"]


class Selection(Section):
    """Which candidates are labeled."""

    n_frames: NonNegativeInt = 16
    score: Score = "information"
    """Force sds are the largest over the atoms; where nothing else is said, sds are total ones."""
    diversity: Diversity = "distance"
    """`distance`: score times distance to the nearest known frame; `farthest` and `lcmd` look at distances
    only; `none`: at scores only."""
    threshold_ev_per_ang: NonNegativeFloat = 0.0
    """Candidates with a smaller force sd (largest over atoms) are not labeled."""
    min_distance: NonNegativeFloat = 0.05
    """Candidates nearer to a known frame count as known; in standard deviations of the training set's
    descriptors, where frames 10 fs apart are at about 2."""
    approve: bool = False
    """Whether a person is asked before the frames of a generation, also the initial ones, are labeled."""


class Audit(Section):
    """Uniform sample of the planned steps, labeled to judge the model and the promise."""

    n_frames: NonNegativeInt = 12


class Stop(Section):
    """When the campaign may be called converged (math 10)."""

    tolerance_ev_per_ang: PositiveFloat = 0.5
    """A frame fails where its largest error of a force component is above."""
    fraction: Share = 0.95
    """Share of the planned steps that must not fail."""
    confidence: Share = 0.9


class Budget(Section):
    """What may be spent at most."""

    labels: PositiveInt | None = None
    hours: PositiveFloat | None = None
    """Of all stages together, as the ledger counts them: none begins that took more before than is left."""


class CampaignConfig(Section):
    """A whole campaign."""

    name: Name
    seed: NonNegativeInt = 0
    preset: Literal["default", "accurate"] = "default"
    systems: Annotated[tuple[System, ...], Field(min_length=1)]
    reference: Annotated[XTB | ASECalculator | FileLabels, Field(discriminator="kind")] = XTB()
    labeling: Labeling = Labeling()
    initial: Initial = Initial()
    model: Model = Model()
    training: Training = Training()
    exploration: Exploration = Exploration()
    selection: Selection = Selection()
    audit: Audit = Audit()
    stop: Stop = Stop()
    budget: Budget = Budget()
    wall_time_h: PositiveFloat | None = None
    """After which a run stops where it can go on from; a few minutes less than the limit of a queue."""
    max_generations: PositiveInt = 3
    """Generations with a model; the initial one is not counted."""
    test_set: str | None = None
    """A labeled structure file, evaluated each generation and never trained on."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    n_threads: PositiveInt | None = None
    """Threads of the network; default: 1 for frames of less than 50 atoms, else the cores, at most 4.
    Stored, as it decides the last bits."""


def stored_config(campaign: Campaign) -> CampaignConfig:
    """Return the resolved configuration of a stored campaign."""
    return CampaignConfig.model_validate_json(campaign.config)
