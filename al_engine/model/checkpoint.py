"""Networks as bytes: safetensors with everything needed to rebuild them; nothing in it is executed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from al_engine.errors import InputError
from al_engine.model.potential import Architecture, StackedPotential

FORMAT = "al-engine ensemble 6"


@dataclass(frozen=True)
class Provenance:
    """What a checkpoint knows besides weights.

    Attributes:
        atomic_energies: Energy of the isolated atom by atomic number, eV.
        scales: (s, t, e) of the calibration.
        level_of_theory: Of the labels.
        data_hash: SHA-256 (hex) of the training set's frame ids, energies and forces.
    """

    atomic_energies: dict[int, float]
    scales: tuple[float, float, float]
    level_of_theory: str
    data_hash: str


def to_bytes(net: StackedPotential, provenance: Provenance) -> bytes:
    """Serialize; the same networks give the same bytes."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    metadata = {
        "format": FORMAT,
        "architecture": json.dumps(asdict(net.arch)),
        "provenance": json.dumps(asdict(provenance)),
    }
    return save(dict(sorted(tensors.items())), metadata={"al_engine": json.dumps(metadata)})


def from_bytes(
    data: bytes, *, device: torch.device, dtype: torch.dtype
) -> tuple[StackedPotential, Provenance]:
    """Rebuild the networks.

    Raises:
        InputError: Not a checkpoint of this program, or of another version.
    """
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        metadata = json.loads(header["__metadata__"]["al_engine"])
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"not an ensemble written by al-engine ({type(error).__name__})") from None
    if metadata.get("format") != FORMAT:
        found = metadata.get("format")
        raise InputError(
            f"the ensemble has format {found!r}, not {FORMAT!r}: another version of al-engine wrote it; "
            "train it again (al-engine fit), or install that version"
        )
    shape = json.loads(metadata["architecture"])
    lists = {"elements": tuple(shape["elements"]), "shortest": tuple(shape["shortest"])}
    arch = Architecture(**shape | lists)
    raw: Mapping[str, object] = json.loads(metadata["provenance"])
    provenance = Provenance(
        atomic_energies={int(z): float(e) for z, e in dict(raw["atomic_energies"]).items()},  # type: ignore[call-overload]
        scales=tuple(raw["scales"]),  # type: ignore[arg-type]
        level_of_theory=str(raw["level_of_theory"]),
        data_hash=str(raw["data_hash"]),
    )
    net = StackedPotential(arch).double()  # holds every stored precision without loss
    try:
        net.load_state_dict(tensors)
    except RuntimeError:
        raise InputError(f"the weights do not fit the networks of format {FORMAT!r}") from None
    return net.to(device=device, dtype=dtype), provenance
