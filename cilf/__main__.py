"""`python -m cilf`."""

import sys

from cilf.cli import main

if __name__ == "__main__":
    sys.exit(main())
