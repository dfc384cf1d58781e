"""python -m dynpool.cli."""

import sys

from .commands import main

sys.exit(main())
