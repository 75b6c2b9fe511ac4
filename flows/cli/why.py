"""Commands that look back at a choice: explain, replay."""

import json
import math
from typing import Annotated

from cyclopts import Parameter
from cyclopts.types import NonNegativeInt
from cyclopts.validators import Number

from al_engine.errors import InputError
from flows.cli.look import Row, print_table
from flows.cli.options import Database

Threshold = Annotated[
    float | None,
    Parameter(
        help="Least force sd, eV/Å, in place of selection.threshold_ev_per_ang.",
        validator=Number(gte=0, lt=math.inf),
    ),
]


def explain(
    frame: Annotated[str, Parameter(help="The id of a frame, or 6 or more of its first digits.")],
    *,
    campaign: Annotated[str | None, Parameter(help="Only as a candidate of this one.")] = None,
    json_: Annotated[bool, Parameter(name="--json", negative="", help="For programs.")] = False,
    database: Database = None,
) -> int:
    """Say why a frame was chosen or not, by which uncertainty, and how wrong the model was."""
    from al_engine.report.explanation import explanation_lines
    from al_engine.stages.explain import explain as explain_candidate
    from db.candidacies import candidacies
    from flows.assembly import open_store

    rows: list[Row] = []
    with open_store(database) as store:
        for found in candidacies(store, frame, campaign):
            model = store.model(found.campaign, found.generation)
            told = explain_candidate(
                found.generation, found.candidate, found.frame, model, found.result,
                withdrawn=found.withdrawn,
            )  # fmt: skip
            rows.append({"campaign": found.campaign, **told.to_json()})
            if not json_:
                print(f"{found.campaign}, generation {told.generation}: {told.formula} {told.frame_id}")
                print(*(f"  {line}" for line in explanation_lines(told)), sep="\n")
    if json_:
        print(json.dumps({"candidates": rows}))
    return 0


def replay(
    campaign: Annotated[str, Parameter(help="Its name.")],
    *,
    generation: Annotated[int | None, Parameter(help="Default: each that has selected.")] = None,
    threshold: Threshold = None,
    budget: Annotated[
        NonNegativeInt | None,
        Parameter(help="Most frames a generation selects, in place of selection.n_frames."),
    ] = None,
    json_: Annotated[bool, Parameter(name="--json", negative="", help="For programs.")] = False,
    database: Database = None,
) -> int:
    """Say what other settings would have chosen from the stored candidates; nothing is computed or stored."""
    from al_engine.config import stored_config
    from al_engine.stages.replay import LIMITS, replay_stage, with_settings
    from db.selections import selecting_campaigns
    from flows.assembly import open_store

    with open_store(database) as store:
        then = selecting_campaigns(store, campaign)
        numbers = [number for number in then if generation in (None, number)]
        if not numbers:
            known = f"only {', '.join(map(str, then))}" if then else "no generation yet"
            raise InputError(f"replay of {campaign!r}: {known} selected from the candidates of a model")
        n_labeled = {g.number: g.n_labeled for g in store.generations(campaign)}
        replays = [
            replay_stage(
                with_settings(stored_config(then[number]), threshold, budget),
                number,
                store.candidates(campaign, number),
                store.audit_draws(campaign, number),
                sum(n for before, n in n_labeled.items() if before < number),
            )
            for number in numbers
        ]
    if json_:
        found = {"campaign": campaign, "generations": [r.to_json() for r in replays], "limits": LIMITS}
        print(json.dumps(found))
        return 0
    print_table(
        [
            {
                "generation": r.generation,
                "threshold eV/Å": r.threshold_ev_per_ang,
                "at most": r.n_frames,
                "candidates": len(r.candidates),
                "chosen then": len(r.chosen_then),
                "would be chosen": len(r.chosen),
                "of these then": len(r.kept),
                "new": len(r.new),
                "dropped": len(r.dropped),
            }
            for r in replays
        ]
    )
    print(LIMITS)
    return 0
