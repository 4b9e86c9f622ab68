"""`liverseg`: where the command line begins and ends.

Little is imported here, and the commands themselves only once Ctrl-C is taken care of: loading them takes a second.
"""

from __future__ import annotations

import sys

from LiverSegLib import __version__, stopping
from LiverSegLib.networks import monai_import


def main() -> None:
    """Entry point: errors are one sentence on the screen and a traceback in the log.

    Exit status: 0, 1 (an error with a sentence), 2 (wrong arguments, or a defect), 130 (Ctrl-C), 143 (SIGTERM).
    """
    monai_import.shorten()
    sys.exit(stopping.run(_work))


def _work() -> int:
    """Run the command in `sys.argv`; gives its exit status."""
    import logging

    from LiverSegLib.cli import screen
    from LiverSegLib.errors import LiverSegError
    from LiverSegLib.log import log_file, start_log

    screen.make_safe()
    start_log()
    log, code = logging.getLogger("LiverSegLib"), 0
    log.info("started, version %s", __version__)
    try:
        from LiverSegLib.cli.commands import app

        app()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except LiverSegError as error:
        log.error("%s", error, exc_info=error)
        screen.show_error(error)
        code = 1
    except Exception as error:
        if stopping.requested():  # what an interrupted library made of it
            return 1
        log.exception("unexpected error")
        screen.show_error(f"Something went wrong ({type(error).__name__}); details are in {log_file()}.")
        code = 2
    lost = screen.failure()
    if lost is not None:
        reason = lost.strerror or str(lost)
        screen.show_error(f"The output could not be shown ({reason}); files that were to be written are complete.")
    return code or int(lost is not None)
