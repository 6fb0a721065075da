"""`python -m helixband` is the command `helixband`."""

import sys

from helixband.run.command import main

if __name__ == "__main__":
    sys.exit(main())
