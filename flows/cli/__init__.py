"""The command `al-engine`: one line for a user's mistake, exit codes 0 done, 1 failed, 2 bad input, 130."""

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from cyclopts import App, CycloptsError

from al_engine.errors import AlEngineError, InputError
from flows.cli import databases, deploy, files, labels, look, machine, report, run, start, why


def _version() -> str:
    from importlib.metadata import version

    return version("al-engine")


app = App(
    name="al-engine",
    help="Active learning of machine-learned potentials with coherent energy and force uncertainty.",
    version=_version,
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)
for command in (
    start.init, run.run, run.approve, look.status, look.query, look.verify, files.export, files.potential,
    files.fit, files.evaluate, report.report, why.explain, why.replay, machine.doctor, machine.server,
    deploy.deploy, deploy.worker,
):  # fmt: skip
    app.command(command)
app.command(files.import_, name="import")
app.command(databases.copy)
for group in (labels.app, databases.app):
    app.command(group)


def execute(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        _check_text(arguments)
        code = app(list(arguments), exit_on_error=False, print_error=False)
    except (CycloptsError, InputError) as error:
        return _say(str(error), 2)
    except AlEngineError as error:
        return _say(str(error), 1)
    except KeyboardInterrupt:
        return _say("interrupted; the same command goes on", 130)
    except BrokenPipeError:  # `al-engine query ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return _bug(error)
    return code if isinstance(code, int) else 0


def main() -> None:
    """Run the command line of this process."""
    signal.signal(signal.SIGTERM, _interrupt)
    code = execute(sys.argv[1:])
    if "prefect" in sys.modules:
        from flows.server import leave

        leave(code)
    sys.exit(code)


def _check_text(arguments: Sequence[str]) -> None:
    try:
        "".join(arguments).encode()
    except UnicodeEncodeError:
        raise InputError(f"the arguments must be UTF-8, not {list(arguments)!a}") from None


def _say(message: str, code: int) -> int:
    print("al-engine: " + " ".join(message.split()), file=sys.stderr)
    return code


def _bug(error: Exception) -> int:
    """Tell of an error that nobody foresaw: where it was in this program, and what it says."""
    for frame in traceback.extract_tb(error.__traceback__):
        if Path(frame.filename).is_relative_to(Path(__file__).parents[2]):
            print(f"  {frame.filename}, line {frame.lineno}, in {frame.name}", file=sys.stderr)
    return _say(f"unexpected {type(error).__name__}: {error}", 1)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
