"""`python -m LiverSegLib.worker`: the worker process."""

import sys

from LiverSegLib.worker.server import main

if __name__ == "__main__":
    sys.exit(main())
