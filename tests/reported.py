"""A campaign in records alone, and its page read back."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from html.parser import HTMLParser

import numpy as np
from networks import carbon_crystal, ensemble, ethanol, labeled

from al_engine.config import CampaignConfig, Stop, System
from al_engine.frames import Frame
from al_engine.lifecycle import GenerationState
from al_engine.records import (
    Campaign,
    Cost,
    Criterion,
    FailureReason,
    Generation,
    LabeledFrame,
    LabelFailure,
    Metric,
    Origin,
    StopDecision,
    TrainedModel,
)
from al_engine.report.record import CampaignRecord

VOID = {"meta", "link", "br", "hr", "img", "input"}
SELF_CLOSING = {"g", "line", "rect", "circle", "path", "use", "image"}
CONFIG = CampaignConfig(
    name="ethanol",
    systems=(System(structure="ethanol.xyz"),),
    seed=7,
    device="cpu",
    stop=Stop(tolerance_ev_per_ang=0.3),
)
LEVEL = "EMT; ase 3"


@cache
def model() -> TrainedModel:
    weights = ensemble().to_bytes()
    return TrainedModel(
        weights, 3, 4242, (0.7, 1.6, 1.3), (0.1, 0.2, 0.3), "audit", np.zeros((0, 1)), ("step",), ()
    )


def generation(k: int, n_labels: int = 4) -> Generation:
    errors = (None, None, None) if k == 0 else (0.01, 0.5 / k, 1.1)
    state = GenerationState.CLOSED
    return Generation("ethanol", k, state, 4, 9, 2, n_labels, 0, *errors, 1.0, 1.0, 1.0, "", "2026-01-01")


def labels(k: int, frames: Sequence[Frame]) -> list[LabeledFrame]:
    """Labels of a generation: all initial in the first one, else half audited and half selected."""
    origins = [Origin.AUDIT, Origin.SELECTED] if k else [Origin.INITIAL]
    return [
        replace(labeled(frame), generation=k, origin=origins[i % len(origins)])
        for i, frame in enumerate(frames)
    ]


def metrics(k: int) -> list[Metric]:
    return [
        Metric("audit", "forces", "rmse_ev_per_ang", 0.5 / k),
        Metric("audit", "forces", "frame_error_ev_per_ang", 0.9),
        Metric("audit", "parts.total.forces", "mean_z2", 1.25),
        Metric("selected", "forces", "rmse_ev_per_ang", 0.75 / k),
    ]


def record(n: int = 3, frames: Sequence[Frame] = (), **more: object) -> CampaignRecord:
    """Generation 0 and n - 1 with an ensemble, four labels each, of ethanol if nothing else is given."""
    items = [item for k in range(n) for item in labels(k, frames or [ethanol(10 * k + i) for i in range(4)])]
    criterion = Criterion("failing_share_upper_bound", 0.25, "<= 0.05", False)
    sentence = "Not converged: 1 of 12 audit steps fails."
    return CampaignRecord(
        campaign=Campaign("ethanol", CONFIG.model_dump_json(), LEVEL, '{"torch": "2.13.0"}', ()),
        generations=[generation(k) for k in range(n)],
        decisions={k: StopDecision(False, (criterion,) if k else (), sentence) for k in range(n)},
        metrics={k: metrics(k) if k else [] for k in range(n)},
        costs={k: [Cost("labeling", 2.5, "cpu"), Cost("closing", 0.25, "cpu")] for k in range(n)},
        failures=[],
        labeled=items,
        model=model() if n > 1 else None,
        table=[{"generation": str(k), "frame": f"{k:012d}", "force sd eV/Å": "0.1"} for k in range(n)],
    )


def crystals(n: int = 4) -> list[Frame]:
    return [carbon_crystal(k) for k in range(n)]


def failure(message: str, reason: FailureReason = FailureReason.SCF) -> LabelFailure:
    return LabelFailure("0" * 64, LEVEL, reason, message, 2)


@dataclass
class Element:
    """A tag with its attributes, the text and the tags in it."""

    tag: str
    attributes: dict[str, str]
    text: str = ""
    children: list["Element"] = field(default_factory=list)

    def all(self, tag: str, **attributes: str) -> list["Element"]:
        """Every element below with this tag and these attributes ("*": any; `class_` for `class`)."""
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        found = [] if self.tag not in (tag, "*") and tag != "*" else [self]
        found = [e for e in found if wanted.items() <= e.attributes.items()]
        return found + [e for child in self.children for e in child.all(tag, **attributes)]

    @property
    def words(self) -> str:
        """All text in it."""
        return " ".join([self.text, *(child.words for child in self.children)]).strip()

    def rows(self) -> list[list[str]]:
        """The cells of a table."""
        return [[c.words for c in row.children if c.tag in ("td", "th")] for row in self.all("tr")]


class _Reader(HTMLParser):
    """Builds the tree, and asserts that what is opened is closed in its order."""

    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("root", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        assert len(element.attributes) == len(attrs), f"<{tag}> has an attribute twice"
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in SELF_CLOSING, f"<{tag}/> is not closed in HTML"
        self.open[-1].children.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].text += data


def read(text: str) -> Element:
    """Read a page."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    (root,) = reader.open
    return root
