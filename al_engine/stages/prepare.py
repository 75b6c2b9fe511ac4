"""From a campaign file to a campaign: every check of the input happens here, before any compute."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ase.data import covalent_radii

from al_engine.config import XTB, CampaignConfig, System, stored_config
from al_engine.errors import InputError, blaming
from al_engine.frames import Frame, elements_of
from al_engine.labeling import check_reference, level_of_theory, resolve_backend
from al_engine.model.ensemble import resolve_device
from al_engine.records import Campaign
from al_engine.stages.compute import resolve_compute
from al_engine.stages.files import labeled_frames, with_absolute_files
from al_engine.stages.initial import initial_stage
from al_engine.stages.samplers import check_samplers
from al_engine.structures import read_structure

_PACKAGES = ("al-engine", "torch", "e3nn", "ase", "numpy", "xtb", "tblite")
_FIXED = ("name", "seed", "reference", "model", "systems")
_FIXED_WHILE_OPEN = ("initial", "training", "exploration", "selection", "audit", "n_threads")


@dataclass(frozen=True)
class Prepared:
    """A checked campaign and its given structures."""

    campaign: Campaign
    starts: tuple[Frame, ...]


def prepare(config: CampaignConfig, folder: Path) -> Prepared:
    """Check everything a campaign needs and resolve what is left open.

    Args:
        config: The campaign file.
        folder: Where its relative paths start.

    Raises:
        InputError: A structure, the calculator, the device or the test set cannot be used; one line.
    """
    starts = [_start(folder, system, k) for k, system in enumerate(config.systems)]
    config = with_absolute_files(config, folder)
    with blaming("device"):
        resolved = resolve_compute(config, max(f.n_atoms for f in starts))
    with blaming("test_set"):
        resolved = resolved.model_copy(update={"test_set": _test_set(config.test_set, folder, starts)})
    with blaming("reference", "backend"):
        resolved = resolved.model_copy(update={"reference": resolve_backend(config.reference)})
    with blaming("reference"):
        check_reference(resolved.reference, starts)
    check_samplers(resolved, starts)
    _check_initial(resolved, starts)
    campaign = Campaign(
        name=config.name,
        config=resolved.model_dump_json(),
        level_of_theory=level_of_theory(resolved.reference),
        environment=json.dumps(environment(resolved)),
        start_frame_ids=tuple(frame.frame_id for frame in starts),
    )
    return Prepared(campaign, tuple(starts))


def _start(folder: Path, system: System, number: int) -> Frame:
    """Read and check the structure of a system."""
    try:
        return read_structure(folder / system.structure, system.charge, system.multiplicity)
    except InputError as error:
        error.key = ("systems", number, *(error.key or ("structure",)))
        raise


def changed_config(
    campaign: Campaign,
    new: CampaignConfig,
    folder: Path,
    *,
    starts: Sequence[Frame],
    is_open: bool,
) -> CampaignConfig:
    """Return the configuration a stored campaign goes on with, given its file as it is now.

    What the stored labels and models rest on cannot change; what a generation rests on cannot change
    while one is open. What `auto` and defaults meant when the campaign was created stays.

    Args:
        campaign: As stored.
        new: What its file says now.
        folder: Where relative paths start.
        starts: The structures it was created with.
        is_open: Whether a generation is open.

    Raises:
        InputError: The file changes what cannot change, or names what is not there.
    """
    old, new = stored_config(campaign), with_absolute_files(new, folder)
    reference = new.reference
    if isinstance(reference, XTB) and isinstance(old.reference, XTB) and reference.backend == "auto":
        reference = reference.model_copy(update={"backend": old.reference.backend})
    resolved = new.model_copy(
        update={
            "reference": reference,
            "device": old.device if new.device == "auto" else new.device,
            "n_threads": new.n_threads or old.n_threads,
        }
    )
    with blaming("device"):
        resolve_device(resolved.device)
    check_samplers(resolved, starts)
    with blaming("test_set"):
        resolved = resolved.model_copy(update={"test_set": _test_set(new.test_set, folder, starts)})
    for k, (system, frame) in enumerate(zip(new.systems, starts, strict=False)):
        file = folder / system.structure
        with blaming("systems", k, "structure"):
            if file.is_file() and read_structure(file, system.charge, system.multiplicity) != frame:
                raise InputError(
                    "the structure is not the one that the campaign was created with; give the old one "
                    "back, or the campaign another name"
                )
    if is_open:
        advice = "a generation is open that began with {}; give it back and change it when that is closed"
        _refuse_changes(old, resolved, _FIXED_WHILE_OPEN, advice)
    advice = "it was {} when the campaign was created and cannot change; give the old value back, or the "
    _refuse_changes(old, resolved, _FIXED, advice + "campaign another name")
    return resolved


def _refuse_changes(old: CampaignConfig, new: CampaignConfig, keys: Sequence[str], advice: str) -> None:
    for key in keys:
        before, after = getattr(old, key), getattr(new, key)
        if before != after:
            with blaming(key):
                raise InputError(advice.format(before))


def _check_initial(config: CampaignConfig, starts: Sequence[Frame]) -> None:
    """Raise where generation 0 could not be trained on, or would cost more than there is."""
    initial = initial_stage(config, starts).frames
    bonded = [frame for frame in initial if frame.n_atoms > 1 or frame.is_periodic]
    with blaming("initial", "n_frames"):
        if len(bonded) < config.model.n_members:
            raise InputError(
                f"it gives {len(bonded)} different frames of more than one atom, too few for "
                f"{config.model.n_members} members (model.n_members)"
            )
    with blaming("budget", "labels"):
        if config.budget.labels is not None and len(initial) > config.budget.labels:
            raise InputError(f"generation 0 alone needs {len(initial)} labels (initial.n_frames)")
    needed = max(2 * covalent_radii[z] for z in elements_of(starts))
    with blaming("model", "r_max_ang"):
        if config.model.r_max_ang < needed:
            raise InputError(f"bonds of these elements are up to {needed:.2f} Å long; more is needed")


def environment(config: CampaignConfig) -> dict[str, str]:
    """Versions and device, kept with the campaign."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found | {"device": config.device, "n_threads": str(config.n_threads)}


def _test_set(path: str | None, folder: Path, starts: Sequence[Frame]) -> str | None:
    if path is None:
        return None
    file = (folder / path).resolve()
    if not file.is_file():
        raise InputError(f"{file} is not a file")
    unknown = set(elements_of([f for f, _ in labeled_frames(file, "test set")])) - set(elements_of(starts))
    if unknown:
        raise InputError(f"{file} has elements Z = {sorted(unknown)} that no system has")
    return str(file)
