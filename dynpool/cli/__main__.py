"""python -m dynpool.cli."""

import sys

from . import main

sys.exit(main())
