"""`python -m app`: what the pages show and do, for scripts."""

import sys

from app.cli import main

if __name__ == "__main__":
    sys.exit(main())
