"""Commands that look into the database: status, query, verify."""

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from cyclopts.types import NonNegativeInt, PositiveInt

from al_engine.errors import CalculatorUnavailableError
from flows.cli.options import Database, check_output
from flows.record import cell, found_table

if TYPE_CHECKING:
    from al_engine.learning_curve import Outlook
    from al_engine.records import Generation, StopDecision
    from flows.assembly import Assembly

Row = dict[str, object]

_SHOWN = {
    "generation": "generation",
    "status": "status",
    "labels": "n_labeled",
    "failed": "n_failed",
    "force RMSE eV/Å": "force_rmse_ev_per_ang",
    "energy RMSE eV/atom": "energy_rmse_ev_per_atom",
    "mean z²": "force_mean_z2",
    "training s": "seconds_training",
    "exploring s": "seconds_exploring",
    "labeling s": "seconds_labeling",
}
"""Columns of `status` and where they come from."""


def status(
    campaign: Annotated[str | None, Parameter(help="Its name; default: all.")] = None,
    *,
    json_: Annotated[bool, Parameter(name="--json", negative="", help="For programs.")] = False,
    database: Database = None,
) -> int:
    """Show a line for each generation: labels, errors, calibration, time, and how far from the stop."""
    from flows.assembly import assemble, open_store

    with open_store(database) as store:
        names = [campaign] if campaign else store.campaign_names()
    found = []
    for name in names:
        with assemble(name, database) as run:
            if json_:
                found.append(_campaign_json(run))
            else:
                print_campaign(run)
    if json_:
        print(json.dumps({"campaigns": found}))
    elif not names:
        print("The database has no campaign.")
    return 0


def query(
    expression: Annotated[str, Parameter(help="As in `ase db`, such as C>1,natoms<20,force_sd>0.2.")] = "",
    *,
    campaign: Annotated[str | None, Parameter(help="Only this one.")] = None,
    format_: Annotated[Literal["table", "csv", "json", "extxyz"], Parameter(name="--format")] = "table",
    limit: Annotated[PositiveInt | None, Parameter(help="At most so many rows.")] = None,
    database: Database = None,
) -> int:
    """Find labeled structures by formula, size, energy, force, uncertainty, generation or status."""
    from db.export import to_extxyz
    from db.query import StructureRow, load
    from db.query import query as find
    from flows.assembly import open_store

    with open_store(database) as store:
        rows = find(store, expression, campaign=campaign, limit=limit)
        if format_ == "extxyz":
            sys.stdout.writelines(map(to_extxyz, load(store, rows)))
    if format_ == "table":
        print_table(found_table(rows))
    records = [asdict(row) for row in rows]
    if format_ == "json":
        print(json.dumps(records))
    elif format_ == "csv":
        writer = csv.DictWriter(sys.stdout, [item.name for item in fields(StructureRow)])
        writer.writeheader()
        writer.writerows(records)
    return 0


def verify(
    campaign: Annotated[str, Parameter(help="Its name.")],
    *,
    dump: Annotated[Path | None, Parameter(help="Write the canonical dump to this file.")] = None,
    labels: Annotated[NonNegativeInt, Parameter(help="So many labels are computed again.")] = 3,
    database: Database = None,
) -> int:
    """Prove the database: hashes, life cycles, foreign keys, a sample of labels computed again."""
    from al_engine.labeling.again import differences
    from db.dump import canonical_dump
    from db.verify import verify as check
    from flows.assembly import assemble, check_labeler

    if dump is not None:
        check_output(dump, "--dump")
    with assemble(campaign, database) as run:
        problems = check(run.store, campaign)
        if dump is not None:
            dump.write_text(canonical_dump(run.store, campaign))
        try:
            if not problems:  # in the order of their hashes the first ones are a sample at random
                problems += differences(check_labeler(run), run.store.labeled(campaign)[:labels])
        except CalculatorUnavailableError as error:
            print(f"no label is computed again: {error}")
    for problem in problems:
        print(problem)
    print(f"{campaign}: {len(problems)} problems" if problems else f"{campaign}: sound")
    return 1 if problems else 0


def print_campaign(run: "Assembly") -> None:
    """Print a campaign's generations, and what speaks for and against its end."""
    name = run.campaign.name
    generations = run.store.generations(name)
    print(name)
    print_table([{head: _columns(g)[key] for head, key in _SHOWN.items()} for g in generations])
    stop = _newest_stop(run)
    if stop is not None:
        print(stop.sentence)
        if not stop.converged:
            print(_outlook(run, generations).sentence)
        for c in stop.criteria:
            print(f"  {c.name} = {c.value:.4g}, wanted {c.wanted}: {'met' if c.met else 'not met'}")


def print_table(records: Sequence[Mapping[str, object]]) -> None:
    """Print records below each other, each column as wide as its widest value."""
    if not records:
        print("no rows")
        return
    lines = [list(records[0]), *([cell(value) for value in record.values()] for record in records)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def _columns(generation: "Generation") -> Row:
    """Name a generation's values as the columns of `generation_summary`."""
    values = asdict(generation)
    head = {"campaign": values.pop("campaign"), "generation": values.pop("number")}
    return head | {"status": values.pop("state").value} | values


def _outlook(run: "Assembly", generations: Sequence["Generation"]) -> "Outlook":
    """Say how far the campaign is from its tolerance."""
    from al_engine.learning_curve import outlook

    return outlook(generations, partial(run.store.metrics, run.campaign.name), run.config.stop)


def _newest_stop(run: "Assembly") -> "StopDecision | None":
    """Return the newest decision: an open generation has none yet."""
    return next(reversed(run.store.stop_decisions(run.campaign.name).values()), None)


def _campaign_json(run: "Assembly") -> Row:
    name, stop = run.campaign.name, _newest_stop(run)
    generations = run.store.generations(name)
    return {
        "campaign": name,
        "generations": [_columns(g) for g in generations],
        "stop": asdict(stop) if stop else None,
        "outlook": asdict(_outlook(run, generations)),
    }
