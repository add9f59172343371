"""`python -m headsmith.cli`: the command line where the script is not on the path."""

from __future__ import annotations

import sys

from headsmith.cli.main import run

if __name__ == "__main__":
    sys.exit(run())
