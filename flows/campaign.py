"""Flow `campaign`: generations until it converged or its budget is spent. The store is the only memory."""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.exceptions import CancelledRun, TerminationSignal
from prefect.runtime import deployment
from prefect.states import Completed
from pydantic import Field, NonNegativeInt, PositiveFloat, StringConstraints

from al_engine.errors import AlEngineError, InputError
from al_engine.form import TEMPERATURES_K, TOLERANCE_EV_PER_ANG, Form, Method
from al_engine.stages.plan import End
from flows.approval import approved_in_a_pause
from flows.artifacts import is_there
from flows.assembly import assemble, is_relative, register
from flows.claim import claimed
from flows.driver import drive, end, halted, run_generation
from flows.ending import CancelledError, ending
from flows.generation import generation
from flows.registration import go_on, read_file, register_form, what_is_left

log = logging.getLogger("al_engine.campaign")
GONE = "the Prefect server is gone; the campaign goes on without it"
Text = Annotated[str, StringConstraints(strip_whitespace=True)]
_STATE_NAMES = {
    End.CONVERGED: "Converged",
    End.MAX_GENERATIONS: "GenerationsDone",
    End.BUDGET_SPENT: "BudgetSpent",
    End.HOURS_SPENT: "BudgetSpent",
    End.WALL_TIME: "WallTime",
    End.APPROVAL: "WaitsForApproval",
}


@flow(
    name="campaign",
    persist_result=False,
    description="Runs a campaign to its end, from wherever it is: a new one and a stored one alike. Give a "
    "campaign file, or a structure or SMILES string, or the name of a campaign that the database has.",
)
def campaign(
    *,
    config_file: Text = "",
    structure: Text = "",
    smiles: Text = "",
    name: Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9_.-]{0,63})?$")] = "",
    method: Method = "GFN2-xTB",
    charge: Annotated[int, Field(ge=-20, le=20)] = 0,
    multiplicity: Annotated[int, Field(ge=0, le=20)] = 0,
    temperatures_k: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = TEMPERATURES_K,
    preset: Literal["default", "accurate"] = "default",
    tolerance_ev_per_ang: PositiveFloat = TOLERANCE_EV_PER_ANG,
    budget_labels: NonNegativeInt = 0,
    max_generations: NonNegativeInt = 0,
    database_url: Text = "",
) -> State[Any]:
    """Run a campaign to its end, from wherever it is.

    Text may be empty and numbers 0 where they are not asked for: the form of Prefect's UI draws an optional
    value as a choice of types.

    Args:
        config_file: Absolute path of a campaign file (al-engine init writes one). It says everything but
            max_generations and database_url; leave the other fields as they are.
        structure: Instead of a campaign file: absolute path of a structure file that ASE reads.
        smiles: Instead of a structure file: a molecule, such as CCO.
        name: Of the campaign in the database: letters, digits, - _ and dots; empty: the formula. Given alone,
            it goes on with a campaign that the database has.
        method: The reference method of the labels. EMT is a rough potential for Al, Cu, Ag, Au, Ni, Pd
            and Pt; any other ASE calculator is named in a campaign file.
        charge: Total charge in e, where the structure does not say it.
        multiplicity: Spin multiplicity 2S + 1; 0: the lowest that the number of electrons allows.
        temperatures_k: Of the molecular dynamics that searches, in K; walkers take them in turn.
        preset: Accurate has wider networks and a longer training.
        tolerance_ev_per_ang: A frame fails where a force component is wrong by more, in eV/Å.
        budget_labels: At most so many labels in all; 0: no limit.
        max_generations: Generations with a model; 0: 3, or what the campaign file says.
        database_url: SQLAlchemy URL, of SQLite with an absolute path (sqlite:////home/me/al_engine.db);
            empty: the database of the worker. A password belongs in AL_ENGINE_DATABASE, not here.
    """
    form = Form(
        structure=structure, smiles=smiles, name=name, method=method, charge=charge,
        multiplicity=multiplicity, temperatures_k=temperatures_k, preset=preset,
        tolerance_ev_per_ang=tolerance_ev_per_ang, budget_labels=budget_labels,
    )  # fmt: skip

    def work() -> State[Any]:
        url = database_of_run(database_url)
        stored = _stored(config_file, form, max_generations or None, url)
        with claimed(stored, stored):
            what_is_left(stored, url)
            began, run_one = time.time(), _subflows()
            over = drive(stored, url, run_one, began)
            while over is End.APPROVAL and approved_in_a_pause(stored, url):
                over = drive(stored, url, run_one, began)
        return Completed(name=_STATE_NAMES[over], message=over.sentence(stored))

    return ending(work)


def run_campaign(name: str, database_url: str | None) -> End:
    """Run the flow in this process, to the end whatever becomes of its server.

    Raises:
        KeyboardInterrupt: It was cancelled or terminated.
    """
    began = time.time()
    try:
        state: Any = campaign(name=name, database_url=database_url or "", return_state=True)
        if state.is_cancelled():
            raise CancelledError
        state.result()
    except AlEngineError:
        raise
    except TerminationSignal:
        raise KeyboardInterrupt from None
    except Exception:
        if is_there():
            raise
        return _without_server(name, database_url, began)
    with assemble(name, database_url) as run:
        return halted(run) or End.WALL_TIME  # what else may end a flow is in the store


def database_of_run(url: str) -> str | None:
    """Return the database that a run is to use, None where AL_ENGINE_DATABASE or the default says it.

    Raises:
        InputError: The working folder would decide which one is meant: that of a worker is no place.
    """
    if is_relative(url):
        raise InputError(f"database_url = {url!r}: give the whole path, as sqlite:////home/me/al_engine.db")
    if not url and deployment.get_id() is not None and not os.environ.get("AL_ENGINE_DATABASE"):
        raise InputError("database_url: give one, or start the worker by al-engine worker, which has one")
    return url or None


def _stored(config_file: str, form: Form, max_generations: int | None, url: str | None) -> str:
    """See to it that the campaign is in the database; return its name.

    Raises:
        InputError: What is asked for cannot be used; nothing is stored then.
    """
    if not config_file:
        if form.name and form == Form(name=form.name):
            return go_on(form.name, max_generations, url)
        return register_form(form, max_generations, url)
    file, said = Path(config_file), form.changed()
    if said:
        raise InputError(f"{said}: the campaign file says it; leave this field as it was")
    if not file.is_absolute():
        raise InputError(f"config_file = {config_file!r}: give the whole path, as /home/me/campaign.yaml")
    config = read_file(file, max_generations)
    register(config, file, url)
    return config.name


def _subflows() -> Callable[..., None]:
    """Return what runs a generation: as a sub-flow, each after the one before; plainly without a server."""
    before: list[Any] = []
    is_told = False

    def run(name: str, number: int, url: str | None, until: float | None) -> None:
        nonlocal is_told
        if is_there():
            try:
                state: Any = generation(name, number, url, until, wait_for=before, return_state=True)
                state.result()  # raises what a step raised
            except (AlEngineError, CancelledRun):
                raise
            except Exception:
                if is_there():
                    raise
            else:
                before[:] = [state]
                return
        if not is_told:
            log.warning(GONE)
            is_told = True
        run_generation(name, number, url, until=until)

    return run


def _without_server(name: str, url: str | None, began: float) -> End:
    """Run what is left of a campaign, if anything is."""
    with assemble(name, url) as run:
        over = end(run)
    if over is not None:
        return over
    log.warning(GONE)
    return drive(name, url, began=began)
