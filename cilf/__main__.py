"""`python -m cilf`."""

import os
import sys

# As in `app.py`: NumPy's library reads it when it is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from cilf.cli import main

if __name__ == "__main__":
    sys.exit(main())
