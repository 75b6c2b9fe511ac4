"""One seed a campaign; every stage draws from its own stream, so that a resumed stage draws the same."""

from enum import IntEnum

import numpy as np


class Stage(IntEnum):
    """The stages that draw random numbers; the values are part of the stream and never change."""

    INITIAL = 0
    TRAIN = 1
    AUDIT = 2
    STARTS = 3
    WALKER = 4
    SELECT = 5


def sequence(seed: int, generation: int, stage: Stage, index: int = 0) -> np.random.SeedSequence:
    """Return the seed sequence of one stage (and walker, member or chunk) of one generation."""
    return np.random.SeedSequence(entropy=seed, spawn_key=(generation, int(stage), index))


def generator(seed: int, generation: int, stage: Stage, index: int = 0) -> np.random.Generator:
    """Return NumPy's generator over `sequence`."""
    return np.random.default_rng(sequence(seed, generation, stage, index))


def torch_seed(seed: int, generation: int, stage: Stage, index: int = 0) -> int:
    """Return a 63-bit seed for a `torch.Generator`."""
    return int(sequence(seed, generation, stage, index).generate_state(1, np.uint64)[0] >> np.uint64(1))
