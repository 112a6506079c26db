"""`python -m benchmarks`."""

from __future__ import annotations

import sys

# Processes that a benchmark starts import this module, too, and are to load no more than they need.
if __name__ == "__main__":
    from benchmarks.command import main

    sys.exit(main())
