"""Commands between the database, models and files: export, import, potential, fit, evaluate."""

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from al_engine.errors import InputError
from flows.cli.look import print_table
from flows.cli.options import Database, check_output

Output = Annotated[Path, Parameter(name=["--output", "-o"], help="The file to write (safetensors).")]


def export(
    campaign: Annotated[str, Parameter(help="Its name.")],
    out: Annotated[Path, Parameter(help="Its ending says how: .extxyz, .db (ASE), .parquet or .h5.")],
    *,
    database: Database = None,
) -> int:
    """Write the labeled structures of a campaign, with split, generation, uncertainty and level of theory."""
    from db.export import export as write
    from flows.assembly import assemble

    check_output(out, "out")
    with assemble(campaign, database) as run:
        n_rows = write(run.store, campaign, out)
    print(f"wrote {n_rows} labeled structures to {out}")
    return 0


def import_(
    file: Annotated[Path, Parameter(help="Labeled structures: .extxyz, .xyz (also .xz) or .traj.")],
    *,
    level_of_theory: Annotated[str, Parameter(help="How they were computed, in one line.")],
    campaign: Annotated[str | None, Parameter(help="Train this campaign on them.")] = None,
    database: Database = None,
) -> int:
    """Bring labeled structures in; duplicates are recognized, a bad frame is reported and left out."""
    from al_engine.structures import read_labeled
    from db.store import Store
    from flows.assembly import database_address

    good, bad = [], 0
    for entry in read_labeled(file, level_of_theory):
        if isinstance(entry.content, str):
            bad += 1
            print(f"{file}: frame {entry.index} left out: {entry.content}")
        else:
            good.append(entry.content)
    with Store.open(database_address(database)) as store:
        n_new, n_known, n_conflicts = store.import_labels(campaign, good)
    print(f"{n_new} labels are new, {n_known} were known, {bad} frames were left out")
    if n_conflicts:
        print(f"{n_conflicts} labels differ from the known one of their frame, which stays")
    if not good:
        raise InputError(f"{file}: no usable labeled frame")
    return 0


def potential(
    campaign: Annotated[str, Parameter(help="Its name.")],
    *,
    output: Output,
    generation: Annotated[int | None, Parameter(help="Default: the newest promoted.")] = None,
    database: Database = None,
) -> int:
    """Write the trained ensemble of a campaign, for ASE and MD codes."""
    check_output(output)
    weights = _weights(campaign, generation, database)
    output.write_bytes(weights)
    print(f"wrote {output}; in Python: al_engine.Ensemble.load({str(output)!r}).calculator()")
    return 0


def fit(
    config: Annotated[Path, Parameter(help="A campaign file: its model and training sections are used.")],
    *,
    data: Annotated[Path, Parameter(help="Labeled structures.")],
    output: Output,
) -> int:
    """Train an ensemble on a labeled file; no campaign, no database."""
    from rich.console import Console

    from al_engine.config_file import load_config
    from al_engine.report.text import number
    from al_engine.stages.evaluate import fit_file
    from flows.cli.live import live
    from flows.progress import progress_of

    check_output(output)
    loaded = load_config(config)
    with live(Console()):
        outcome = fit_file(loaded, data, progress_of("fit"))
    output.write_bytes(outcome.model.weights)
    for metric in outcome.metrics:
        print(f"{metric.split} {metric.quantity} {metric.name} = {number(metric.value)}")
    print(f"wrote {output}, trained on {len(outcome.model.training_set)} frames")
    return 0


def evaluate(
    model: Annotated[str, Parameter(help="A model file, or the name of a campaign: its promoted ensemble.")],
    file: Annotated[Path, Parameter(help="Labeled structures that it has not seen.")],
    *,
    json_: Annotated[bool, Parameter(name="--json", negative="", help="For programs.")] = False,
    database: Database = None,
) -> int:
    """Measure errors and calibration of an ensemble on labeled frames."""
    from al_engine.report.text import CALIBRATION_NOTE, calibration_rows, error_rows, size_rows
    from al_engine.stages.evaluate import evaluate_file

    weights = Path(model).read_bytes() if Path(model).is_file() else _weights(model, None, database)
    result = evaluate_file(weights, file)
    if json_:
        print(json.dumps(result.to_json()))
        return 0
    print(f"{result.n_frames} frames, {result.n_atoms} atoms")
    metrics = result.metrics("value")
    for rows in (error_rows(metrics), calibration_rows(metrics), size_rows(result.by_size)):
        if rows:
            print()
            print_table(rows)
    print(f"\n{CALIBRATION_NOTE}")
    return 0


def _weights(campaign: str, generation: int | None, database: str | None) -> bytes:
    """Return the checkpoint of a generation; default: the newest promoted, else the newest that has one."""
    from al_engine.convergence import promoted
    from flows.assembly import assemble

    with assemble(campaign, database) as run:
        numbers = [g.number for g in run.store.generations(campaign)]
        best = promoted(run.store.stop_decisions(campaign)) if generation is None else generation
        for number in reversed(numbers) if best is None else [best]:
            found = run.store.model(campaign, number) if number in numbers else None
            if found is not None:
                return found.weights
    which = f"generation {generation}" if generation is not None else "campaign"
    raise InputError(f"{campaign!r}: this {which} has no trained ensemble")
