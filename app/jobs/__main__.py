"""`python -m app.jobs`: the job host of this VIGIE_HOME."""

import sys

from app.jobs.host import main

if __name__ == "__main__":
    sys.exit(main())
