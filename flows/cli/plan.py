"""What `run --dry-run` says: what is left of a campaign, and what it would cost on this machine."""

from pathlib import Path
from typing import TYPE_CHECKING

from flows.cli.look import Row, print_table

if TYPE_CHECKING:
    from al_engine.config import CampaignConfig


def show_plan(config: "CampaignConfig", file: Path, url: str) -> int:
    """Check a campaign file, time each kind of work once, and print what is left; nothing is stored."""
    from al_engine.config import stored_config
    from al_engine.convergence import look_size
    from al_engine.stages.estimate import estimate, work_left
    from al_engine.stages.limits import NEXT
    from flows.assembly import Assembly, check, look
    from flows.driver import end

    name, newest, over, n_labels, n_unlabeled = config.name, None, None, 0, 0
    with look(url) as store:
        checked = check(config, file, store)
        config = stored_config(checked.campaign)
        if store and store.campaign(name):
            newest = store.latest_generation(name)
            over = end(Assembly(store, checked.campaign, config))
            n_labels = sum(g.n_labeled for g in store.generations(name))
            n_unlabeled = len(store.unlabeled_ids(name, newest.number)) if newest else 0
    if over is not None:
        print(over.sentence(name))
        return 0
    works = work_left(config, checked.starts, newest, n_unlabeled=n_unlabeled, n_labels=n_labels)
    cost = estimate(config, checked.starts, checked.campaign.level_of_theory)
    first, state = works[0].generation, newest.state if newest else None
    step = f": {NEXT[state]}" if first and state in NEXT else ""
    print(f"The campaign {name} has {n_labels} labels and goes on with generation {first}{step}.")
    print(
        f"measured: a label {cost.seconds_label:.3g} s, {cost.n_label_processes} at a time; "
        f"a training step {cost.seconds_training_step:.3g} s; "
        f"a step of a walker {cost.seconds_walker_step:.3g} s"
    )
    rows: list[Row] = []
    for work in works:
        training, exploring, labeling = cost.seconds(work)
        rows.append(
            {
                "generation": work.generation,
                "training steps": work.n_training_steps,
                "training s": training,
                "walker steps": work.n_walker_steps,
                "exploring s": exploring,
                "labels": work.n_labels,
                "labeling s": labeling,
            }
        )
    print_table(rows)
    n_wanted, total = sum(w.n_labels for w in works), sum(sum(cost.seconds(work)) for work in works)
    print(f"At most {n_wanted} labels and about {total:.3g} s are left; nothing was stored.")
    n_confirming = look_size(1, config.stop)
    print(
        f"A confirming audit, where a small one looks good, takes {n_confirming} labels more, at the least."
    )
    return 0
