"""A process that does one errand, so that an application with windows never waits for it.

It gets, adds, checks or removes a model, or does a task with a case (`LiverSegLib.worker.clerk`).

It says how far it is in lines of JSON on its standard output. It stops when its standard input is closed, which also
happens when the application ends.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

import LiverSegLib
from LiverSegLib.errors import LiverSegError, ProtocolError
from LiverSegLib.models.transfer import Transfer
from LiverSegLib.plain_data import from_plain, shortened
from LiverSegLib.worker.clerk import Step, do_task

INSTALL, ADD, VERIFY, REMOVE, TASK = "install", "add", "verify", "remove", "task"
Said = Transfer | Step
"""How far it is."""

# The package's folder comes first only while it is imported: in Slicer it is full of other modules.
_BOOTSTRAP = (
    "import sys; sys.path[:] = [{root}] + [p for p in sys.path if p]; import LiverSegLib; "
    "sys.path.append(sys.path.pop(0)); from LiverSegLib.worker.errand import main; main({errand})"
)


@dataclass(frozen=True, kw_only=True)
class Errand:
    """What is to be done.

    Args:
        kind: "install", "add", "verify", "remove" or "task".
        target: the id of a model, the path of a file to add, or the file of a task.
        accept_license: the user has read and accepted the licenses of all that is installed.
    """

    kind: str
    target: str
    accept_license: bool = False


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How it went.

    Args:
        model: the id of the model that it was about; "" where it failed, and of a task.
        error: name of the exception's class, "" where all went well.
        sentence: for the user, where it failed; of a task also what is to be known where all went well.
        details: traceback for the log, "" where the sentence says all.
    """

    model: str = ""
    error: str = ""
    sentence: str = ""
    details: str = ""


def errand_command(errand: Errand) -> list[str]:
    """Program and arguments that run an errand with this Python and this very LiverSegLib, wherever it lies."""
    root = Path(LiverSegLib.__file__).resolve().parents[1]
    # ascii(): launchers and Windows code pages damage other characters on a command line.
    script = _BOOTSTRAP.format(root=ascii(str(root)), errand=ascii(json.dumps(asdict(errand))))
    return [sys.executable, "-c", script]


def read_line(line: bytes) -> Said | Ended:
    """What one line of the process says.

    Raises:
        ProtocolError: it says nothing that is understood.
    """
    try:
        data = json.loads(line.decode("utf-8"))
        kind: type[Said] | type[Ended] = Transfer if "stage" in data else Step if "step" in data else Ended
        return from_plain(kind, data, kind.__name__)
    except (ValueError, TypeError, RecursionError, LiverSegError) as error:
        raise ProtocolError(f"The line {shortened(line)} is nothing that an errand says.") from error


def main(errand: str) -> None:
    """Run the errand that a JSON text describes, and exit.

    Args:
        errand: the fields of an `Errand`.
    """
    stopped = threading.Event()
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not break a line
    threading.Thread(target=_wait_for_the_end, args=(sys.stdin.buffer, stopped), daemon=True).start()
    ended = run(from_plain(Errand, json.loads(errand), "The errand"), lambda said: _say(out, said), stopped.is_set)
    _say(out, ended)
    out.flush()
    os._exit(0)  # the thread that reads may hang in its read


def run(errand: Errand, progress: Any, should_stop: Any) -> Ended:
    """Do it; every failure is an answer, too."""
    try:
        if errand.kind == TASK:
            return Ended(sentence=do_task(Path(errand.target), progress, should_stop))
        return Ended(model=_change_store(errand, {"progress": progress, "should_stop": should_stop}))
    except LiverSegError as error:
        return Ended(error=type(error).__name__, sentence=str(error))
    except Exception as error:
        sentence = f"That failed unexpectedly ({type(error).__name__}); details are in the log."
        return Ended(error="WorkerError", sentence=sentence, details=traceback.format_exc())


def _change_store(errand: Errand, how: dict[str, Any]) -> str:
    """What is done with the models; gives the id of the one that it was about."""
    from LiverSegLib.models.installed import ModelStore

    name, store = errand.target, ModelStore()
    if errand.kind == INSTALL:
        store.install(store.find(name).entry, accept_license=errand.accept_license, **how)
    elif errand.kind == ADD:
        name = store.add(name, accept_license=errand.accept_license, **how).entry.id
    elif errand.kind == VERIFY:
        store.verify(name, **how)
    else:
        store.remove(name)
    return name


def _say(out: IO[str], said: Said | Ended) -> None:
    if isinstance(said, Transfer) and said.seconds_left is not None:
        said = replace(said, seconds_left=float(said.seconds_left))
    out.write(json.dumps(asdict(said)) + "\n")
    out.flush()


def _wait_for_the_end(source: IO[bytes], stopped: threading.Event) -> None:
    while source.read(4096):
        pass
    stopped.set()
