"""`stembridge`, and `python -m bridge`."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line on `arguments`, or on the program's own; returns the exit status."""
    from bridge.cli.app import run

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
