"""Folds for cross-fitting (math 9): member m never learns from the frames of fold m."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from al_engine.records import LabeledFrame, TrainingFrame


def assign_folds(
    labeled: Sequence[LabeledFrame], known: Mapping[str, int], n_members: int
) -> tuple[TrainingFrame, ...]:
    """Give each labeled frame a fold; a fold once given never changes.

    New frames are joined to groups (the frames of one walker). A group that has a fold keeps it; the others,
    sorted by their smallest frame id, go to the fold that has fewest frames so far.

    Returns:
        One entry a frame, sorted by frame id.
    """
    folds = {
        item.frame.frame_id: known[item.frame.frame_id] for item in labeled if item.frame.frame_id in known
    }
    of_group = {item.group: folds[i] for item in labeled if (i := item.frame.frame_id) in folds}
    groups: dict[str, list[str]] = {}
    for item in labeled:
        if item.frame.frame_id in folds:
            continue
        if item.group in of_group:
            folds[item.frame.frame_id] = of_group[item.group]
        else:
            groups.setdefault(item.group, []).append(item.frame.frame_id)
    sizes = [sum(fold == m for fold in folds.values()) for m in range(n_members)]
    for members in sorted(map(sorted, groups.values())):
        fold = sizes.index(min(sizes))
        sizes[fold] += len(members)
        folds |= dict.fromkeys(members, fold)
    return tuple(TrainingFrame(frame_id, folds[frame_id]) for frame_id in sorted(folds))
