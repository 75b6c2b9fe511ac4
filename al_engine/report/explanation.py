"""Why a frame was chosen and what became of it, in a few lines."""

from __future__ import annotations

from al_engine.report.text import number
from al_engine.stages.explain import Explanation, Sd


def explanation_lines(e: Explanation) -> list[str]:
    """Say in words what an explanation holds, for a terminal."""
    return [line for line in (_source(e), *_judgment(e), _decision(e), *_outcome(e)) if line]


def _source(e: Explanation) -> str:
    if e.walker is None:
        return f"from: {e.origin}, no walker"
    at = f" at {number(e.temperature_k)} K" if e.temperature_k is not None else ""
    return f"from: {e.origin}, walker {e.walker}{at}, step {e.step}"


def _judgment(e: Explanation) -> list[str]:
    if e.judge is None or e.energy_sd_ev is None or e.force_sd_max_ev_per_ang is None or e.worst_atom is None:
        return ["judged by: no model"]
    worst = e.worst_atom
    return [
        f"judged by: the model of generation {e.judge.generation}, {e.judge.n_members} members, "
        f"{e.judge.n_training_frames} training frames, calibration: {e.judge.calibration}",
        f"energy sd: {_sd(e.energy_sd_ev, 'eV')}",
        f"force sd: {_sd(e.force_sd_max_ev_per_ang, 'eV/Å')}, largest over atoms; "
        f"worst atom {worst.index} ({worst.element}): {number(worst.force_sd_ev_per_ang)} eV/Å",
    ]


def _sd(sd: Sd, unit: str) -> str:
    return f"{number(sd.total)} {unit} (aleatoric {number(sd.aleatoric)}, epistemic {number(sd.epistemic)})"


def _decision(e: Explanation) -> str:
    score = f" (score {number(e.score)})" if e.score is not None else ""
    return f"decision: {e.reason or 'none yet'}{score}"


def _outcome(e: Explanation) -> list[str]:
    nearest = error = ""
    if e.nearest_frame_id is not None:
        nearest = f"nearest training frame: {e.nearest_frame_id[:12]}, {number(e.distance)} away"
    status = f"status: {e.status}" + (f", {e.failure}" if e.failure else "")
    if e.label_energy_ev is not None:
        status += f", energy {e.label_energy_ev:.6f} eV"
    if e.true_error is not None:
        t = e.true_error
        error = (
            f"true error: energy {number(t.energy_mev_per_atom)} meV/atom ({number(t.energy_in_sd)} sd), "
            f"largest force component {number(t.max_force_ev_per_ang)} eV/Å ({number(t.max_force_in_sd)} sd) "
            f"on atom {t.atom.index} ({t.atom.element})"
        )
    return [nearest, status, error]
