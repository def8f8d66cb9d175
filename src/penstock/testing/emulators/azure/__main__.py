"""`python -m penstock.testing.emulators.azure FOLDER`: an emulated workspace until SIGTERM or Ctrl-C.

FOLDER/environment.sh is what a shell sources that is to use it. PENSTOCK_SPECS: folder whose `azure/` holds the published ARM schema.
"""

from __future__ import annotations

import sys
from pathlib import Path

from penstock.testing.emulators.started import stay

if __name__ == "__main__":
    stay("azureml", "azure", Path(sys.argv[1]).absolute())
