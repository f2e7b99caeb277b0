"""`python -m harness.data.mini [FOLDER]`: write the corpus again (default: fixtures/mini)."""

from __future__ import annotations

import sys
from pathlib import Path

from harness.data.mini.corpus import write
from harness.data.sources import MINI_FOLDER

if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else MINI_FOLDER
    for path in write(target):
        print(path, file=sys.stderr)
