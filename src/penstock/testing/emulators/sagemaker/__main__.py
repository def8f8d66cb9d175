"""`python -m penstock.testing.emulators.sagemaker FOLDER`: an emulated account until SIGTERM or Ctrl-C.

FOLDER/environment.sh is what a shell sources that is to use it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from penstock.testing.emulators.started import stay

if __name__ == "__main__":
    stay("sagemaker", "aws", Path(sys.argv[1]).absolute())
