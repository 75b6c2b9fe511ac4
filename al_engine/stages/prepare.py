"""From a campaign file to a campaign: every check of the input happens here, before any compute."""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from al_engine.config import XTB, CampaignConfig
from al_engine.errors import InputError, blaming
from al_engine.frames import Frame, check_distances, check_electrons
from al_engine.labeling import check_reference, level_of_theory, resolve_backend
from al_engine.records import Campaign
from al_engine.stages.compute import resolve_compute
from al_engine.structures import read_structure

_PACKAGES = ("al-engine", "torch", "e3nn", "ase", "numpy", "xtb", "tblite")
_FIXED = ("name", "seed", "reference", "model")


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
    starts = []
    for k, system in enumerate(config.systems):
        with blaming("systems", k):
            frame = read_structure(folder / system.structure, system.charge, system.multiplicity)
            check_distances(frame)
            if not frame.is_periodic:
                check_electrons(frame)
            starts.append(frame)
    with blaming("device"):
        resolved = resolve_compute(config, max(f.n_atoms for f in starts))
    with blaming("test_set"):
        resolved = resolved.model_copy(update={"test_set": _test_set(config.test_set, folder)})
    with blaming("reference"):
        resolved = resolved.model_copy(update={"reference": resolve_backend(config.reference)})
        check_reference(resolved.reference, starts)
    campaign = Campaign(
        name=config.name,
        config=resolved.model_dump_json(),
        level_of_theory=level_of_theory(resolved.reference),
        environment=json.dumps(environment(resolved)),
        start_frame_ids=tuple(frame.frame_id for frame in starts),
    )
    return Prepared(campaign, tuple(starts))


def stored_config(campaign: Campaign) -> CampaignConfig:
    """Return the resolved configuration of a stored campaign."""
    return CampaignConfig.model_validate_json(campaign.config)


def changed_config(campaign: Campaign, new: CampaignConfig, folder: Path) -> CampaignConfig:
    """Return the configuration a stored campaign goes on with, given its file as it is now.

    What the stored labels and models rest on cannot change; the rest holds from the next stage on.
    What `auto` and defaults meant when the campaign was created stays.

    Raises:
        InputError: The file changes name, seed, reference, model or the systems.
    """
    old = stored_config(campaign)
    reference = new.reference
    if isinstance(reference, XTB) and isinstance(old.reference, XTB) and reference.backend == "auto":
        reference = reference.model_copy(update={"backend": old.reference.backend})
    resolved = new.model_copy(
        update={
            "reference": reference,
            "device": old.device if new.device == "auto" else new.device,
            "n_threads": new.n_threads or old.n_threads,
            "test_set": _test_set(new.test_set, folder),
        }
    )
    for key in (*_FIXED, "systems"):
        before, after = getattr(old, key), getattr(resolved, key)
        if before != after:
            with blaming(key):
                raise InputError(
                    f"it was {before} when campaign {old.name!r} was created and cannot change; "
                    "give the old value back, or the campaign another name"
                )
    return resolved


def environment(config: CampaignConfig) -> dict[str, str]:
    """Versions and device, kept with the campaign."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found | {"device": config.device, "n_threads": str(config.n_threads)}


def _test_set(path: str | None, folder: Path) -> str | None:
    if path is None:
        return None
    file = (folder / path).resolve()
    if not file.is_file():
        raise InputError(f"test_set = {path!r}: {file} is not a file")
    return str(file)
