"""``python -m copygym``: the same as the ``copygym`` command."""

from __future__ import annotations

import sys

from copygym.experiments.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
