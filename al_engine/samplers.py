"""What a campaign file may say of samplers: how a generation searches for frames worth labeling."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, NonNegativeInt, PositiveFloat, PositiveInt, Tag

from al_engine.section import Section


class _Dynamics(Section):
    """What all kinds of dynamics have."""

    temperatures_k: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (
        300.0,
        500.0,
        700.0,
    )
    """Walkers take them in turn."""
    n_walkers: Annotated[int, Field(gt=0, le=10_000)] = 24
    n_steps: Annotated[int, Field(gt=0, le=100_000_000)] = 500
    timestep_fs: PositiveFloat = 0.5
    stride: PositiveInt = 20
    """Every so many steps a frame becomes a candidate."""


class Langevin(_Dynamics):
    """NVT dynamics with a Langevin thermostat (BAOAB)."""

    kind: Literal["langevin"] = "langevin"
    friction_per_fs: PositiveFloat = 0.02


class Nve(_Dynamics):
    """Dynamics at constant energy (velocity Verlet); the temperatures are those of the first velocities."""

    kind: Literal["nve"] = "nve"


class Npt(_Dynamics):
    """NPT dynamics of periodic cells: Langevin thermostat, stochastic cell rescaling (isotropic)."""

    kind: Literal["npt"] = "npt"
    friction_per_fs: PositiveFloat = 0.02
    pressure_gpa: float = 0.0
    barostat_fs: PositiveFloat = 500.0
    """How fast the volume follows, for a compressibility of 0.02/GPa; in proportion for others."""


class UncertaintyBiased(_Dynamics):
    """Langevin dynamics that is drawn to where the members disagree on the energy; never audited."""

    kind: Literal["uncertainty_biased"] = "uncertainty_biased"
    friction_per_fs: PositiveFloat = 0.02
    strength: PositiveFloat = 0.3
    """Of the bias force, relative to the force of the potential (root mean squares)."""


class NormalModes(Section):
    """The given structures displaced along their normal modes; they should be near a minimum."""

    kind: Literal["normal_modes"] = "normal_modes"
    temperatures_k: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (300.0, 700.0, 1200.0)
    """Copies take them in turn; 3/2 N kB T is the most that all modes of a copy get together."""
    n_frames: PositiveInt = 200
    """Copies a generation."""


class Rattle(Section):
    """Copies of the given structures and of earlier audited frames, each atom displaced at random."""

    kind: Literal["rattle"] = "rattle"
    n_frames: PositiveInt = 200
    """Copies a generation."""
    rattle_ang: tuple[PositiveFloat, PositiveFloat] = (0.02, 0.2)
    """Standard deviation of a displacement component: spread evenly from the first to the second, Å."""
    strain: Annotated[float, Field(ge=0, lt=0.5)] = 0.03
    """Largest component of the random strain of a cell."""


class ReactionPath(Section):
    """A nudged elastic band between two of the systems; its images are candidates as it relaxes."""

    kind: Literal["reaction_path"] = "reaction_path"
    ends: tuple[NonNegativeInt, NonNegativeInt] = (0, 1)
    """Which of `systems`, counted from 0; they have the same atoms in the same order."""
    n_images: PositiveInt = 9
    """Between the ends."""
    n_steps: PositiveInt = 100
    """Of the optimizer; in the second half the highest image climbs."""
    stride: PositiveInt = 10
    """Every so many steps the images become candidates."""


class Pool(Section):
    """The frames of a file that have no label in the campaign yet; generation 0 is drawn from it, too."""

    kind: Literal["pool"] = "pool"
    file: str
    """Frames as `import` reads them, with labels or without; a relative path starts at the campaign file."""
    n_frames: PositiveInt = 2_000
    """Candidates a generation, drawn uniformly where there are more."""


Dynamics = Langevin | Nve | Npt | UncertaintyBiased
"""Kinds that move a batch of walkers."""


def kind(value: Any) -> Any:
    """Return the kind of a sampler in a campaign file: langevin where it does not say."""
    return value.get("kind", "langevin") if isinstance(value, dict) else getattr(value, "kind", None)


Sampler = Annotated[
    Annotated[Langevin, Tag("langevin")]
    | Annotated[Nve, Tag("nve")]
    | Annotated[Npt, Tag("npt")]
    | Annotated[UncertaintyBiased, Tag("uncertainty_biased")]
    | Annotated[NormalModes, Tag("normal_modes")]
    | Annotated[Pool, Tag("pool")]
    | Annotated[ReactionPath, Tag("reaction_path")]
    | Annotated[Rattle, Tag("rattle")],
    Discriminator(kind),
]

KINDS: tuple[type[Section], ...] = (
    Langevin, Nve, Npt, UncertaintyBiased, NormalModes, Pool, ReactionPath, Rattle,
)  # fmt: skip
"""All kinds of samplers."""
