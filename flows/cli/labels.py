"""Commands `labels withdraw` and `labels retry`: what is done about a wrong label, and a failed one."""

import os
import sys
from itertools import groupby
from operator import itemgetter
from typing import Annotated

from cyclopts import App, Parameter

from al_engine.errors import InputError
from flows.cli.options import Database

app = App(name="labels", help="Take wrong labels out of training; try failed ones again.")


@app.command
def withdraw(
    frame: Annotated[str, Parameter(help="The id of a frame, or 6 or more of its first digits.")],
    *,
    reason: Annotated[str, Parameter(help="Why the label is wrong.")],
    campaign: Annotated[str | None, Parameter(help="The label at its level of theory.")] = None,
    database: Database = None,
) -> int:
    """Take a label out of all later training and judging; it stays stored, with the reason."""
    from db.withdrawals import withdraw as take_out
    from flows.assembly import open_store

    with open_store(database) as store:
        done = take_out(store, frame, reason, campaign)
    when = "withdrawn" if done.is_new else "was withdrawn already"
    print(f"label of {done.frame_id} at {done.level_of_theory} {when}: {done.reason}")
    return 0


@app.command
def retry(
    *,
    reason: Annotated[str, Parameter(help="Why they failed, as `label_failures_summary` says it.")],
    campaign: Annotated[str | None, Parameter(help="Only of this one.")] = None,
    generation: Annotated[int | None, Parameter(help="Only of this one.")] = None,
    database: Database = None,
) -> int:
    """Try failed labels again, now; the next training learns from those that succeed."""
    from rich.console import Console

    from al_engine.records import FailureReason, Label
    from db.failures import failures, record_retry
    from flows.assembly import assemble, check_labeler, open_store
    from flows.cli.live import live
    from flows.progress import progress_of

    reasons = [item.value for item in FailureReason]
    if reason not in reasons:
        raise InputError(f"reason = {reason!r}: it must be one of {', '.join(reasons)}")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # a calculator may be a module in this folder
    with open_store(database) as store:
        found = {name: failures(store, name) for name in ([campaign] if campaign else store.campaign_names())}
    n_tried = n_labeled = 0
    for name, all_failures in found.items():
        chosen = [(g, f) for g, f in all_failures if f.reason == reason and generation in (None, g)]
        if not chosen:
            continue
        with assemble(name, database) as run, live(Console()):
            labeler = check_labeler(run)
            for number, some in groupby(chosen, key=itemgetter(0)):
                these = {failure.frame_id: failure for _, failure in some}
                report = progress_of(f"label {name}, generation {number}")
                for done, result in enumerate(labeler.label_all(run.store.frames(list(these))), 1):
                    record_retry(run.store, name, number, these[result.frame_id], result)
                    n_tried, n_labeled = n_tried + 1, n_labeled + isinstance(result, Label)
                    report(done, len(these), "")
    print(f"{n_tried} labels tried again: {n_labeled} succeeded, {n_tried - n_labeled} failed again")
    return 0
