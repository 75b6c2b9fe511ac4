"""A campaign as one HTML page that needs nothing else: no network, and no script to be read."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from al_engine.config import CampaignConfig, stored_config
from al_engine.learning_curve import outlook
from al_engine.report.judged import judge
from al_engine.report.panels import panels
from al_engine.report.picture import color_of
from al_engine.report.record import CampaignRecord
from al_engine.report.text import (
    CALIBRATION_NOTE,
    Row,
    calibration_rows,
    cost_rows,
    criterion_rows,
    error_rows,
    failure_rows,
    generation_rows,
    number,
)
from al_engine.report.worst import largest_sd, worst_frames

_CODES = [*range(9), 11, 12, *range(14, 32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_UNPRINTABLE = dict.fromkeys([*_CODES, *range(0xD800, 0xE000)], "\ufffd")
"""Control characters, those that turn the direction of text, and halves of characters."""


def page(record: CampaignRecord) -> str:
    """Write the page of a campaign; every text in it is escaped."""
    config = stored_config(record.campaign)
    judged = judge(record)
    environment = _environment()
    script = environment.get_template("page.js").render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    metrics = record.metrics.get(judged.generation, ()) if judged else ()
    audit = [m for m in metrics if m.split == "audit"]
    return environment.get_template("page.html").render(
        record=record,
        sentences=_summary(record, config),
        criteria=criterion_rows(record.decision) if record.decision else [],
        generations=generation_rows(record.generations),
        panels=list(panels(record, judged)),
        judged=judged,
        worst=worst_frames(judged) if judged else [],
        largest_sd=number(largest_sd(judged)) if judged else "",
        scale=[color_of(k / 8) for k in range(9)],
        errors=error_rows(metrics),
        calibration=calibration_rows(audit),
        calibration_note=CALIBRATION_NOTE,
        failures=failure_rows(record.failures),
        costs=cost_rows(record.costs),
        provenance=_provenance(record, config),
        config=json.dumps(json.loads(record.campaign.config), indent=2, ensure_ascii=False),
        script=Markup(script),  # noqa: S704 - a file of this package
        digest=digest,
    )


def _summary(record: CampaignRecord, config: CampaignConfig) -> list[str]:
    """Say what there is, whether it has converged, and how far it is from that, as `status` does."""
    n_labels, n_failed = len(record.labeled), len(record.failures)
    n = len(record.generations)
    said = [f"Generations: {n}. Labels: {n_labels}. Calculations without a label: {n_failed}."]
    newest = record.generations[-1] if record.generations else None
    if newest is not None and newest.closed_at is None:
        said.append(f"Generation {newest.number} is not closed yet; it is {newest.state.value}.")
    if record.decision is not None:
        said.append(record.decision.sentence)
    if record.decision is None or not record.decision.converged:
        said.append(outlook(record.generations, record.metrics.__getitem__, config.stop).sentence)
    return said


def _provenance(record: CampaignRecord, config: CampaignConfig) -> list[Row]:
    """List what somebody would need to do the same again."""
    rows = {"level of theory": record.campaign.level_of_theory, "seed": str(config.seed)}
    if record.model is not None:
        scales = zip("ste", record.model.scales, record.model.scale_errors, strict=True)
        rows |= {
            "seed of the newest training": str(record.model.seed),
            "members": str(record.model.n_members),
            "calibration": record.model.calibration,
            "scales": ", ".join(f"{name} = {number(v)} (log sd {number(e)})" for name, v, e in scales),
        }
    rows |= {str(name): str(value) for name, value in json.loads(record.campaign.environment).items()}
    return [{"what": name, "value": value} for name, value in rows.items()]


def _printable(value: object) -> object:
    return value.translate(_UNPRINTABLE) if isinstance(value, str) else value


def _numeric_columns(rows: Sequence[Row]) -> list[str]:
    return [head for head in rows[0] if all(_is_numeral(row[head]) for row in rows)]


def _is_numeral(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text in ("–", "-")
    return True


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("al_engine", "report"),
        autoescape=True,
        finalize=_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["numeric_columns"] = _numeric_columns
    return environment
