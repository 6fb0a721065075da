"""The command of a checkout: `python main.py` is `helixband`, without an installation."""

import sys

from helixband.run.command import main

if __name__ == "__main__":
    sys.exit(main())
