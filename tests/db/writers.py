"""Processes that use one database at once: `python writers.py open|write URL`; prints a line for each."""

import os
import random
import sys
import traceback

from stored_campaign import NAME, failure_of, initial_frames, label_of

from al_engine.frames import Frame
from al_engine.records import Label, LabelFailure
from db.results import record_all
from db.store import Store

N_WRITERS = 8
N_FRAMES = 24


def open_it(url: str, _seed: int) -> str:
    """Open a database that may not have its tables yet."""
    with Store.open(url) as store:
        return str(store.campaign_names())


def result_of(frame: Frame) -> Label | LabelFailure:
    fails = int(frame.frame_id[:2], 16) % 4 == 0
    return failure_of(frame) if fails else label_of(frame)


def write(url: str, seed: int) -> str:
    """Record the same results as every other writer, in an order of its own; say how many conflicts."""
    frames = initial_frames(N_FRAMES)
    random.Random(seed).shuffle(frames)
    outcomes = []
    with Store.open(url) as store:
        store.import_labels(None, [(f, label_of(f, level="PBE")) for f in frames[: N_FRAMES // 2]])
        for i, frame in enumerate(frames):
            outcomes.append(store.record_result(NAME, 0, result_of(frame)).value)
            if i % 8 == 4:
                record_all(store.database, NAME, 0, [result_of(f) for f in frames[i : i + 6]])
            if i % 8 == 0:
                store.import_labels(NAME, [(f, label_of(f)) for f in frames[i : i + 3]])
    return f"{outcomes.count('conflict')} conflicts"


def main(work: str, url: str) -> int:
    """Fork the writers, once everything is imported; return how many failed."""
    children = []
    for seed in range(N_WRITERS):
        child = os.fork()
        if child == 0:
            try:
                os.write(1, ({"open": open_it, "write": write}[work](url, seed) + "\n").encode())
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
                os._exit(1)
        children.append(child)
    return sum(os.waitpid(child, 0)[1] != 0 for child in children)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
