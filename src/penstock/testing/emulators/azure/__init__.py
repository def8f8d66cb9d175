"""Azure Machine Learning on this machine: `with Azure(folder) as cloud`, then any client of Resource Manager under `cloud.environment`.

Bodies are held to the published ARM schema where it is at hand, states move as documented, and jobs and deployments are processes.
What it cannot show: images, networks, role assignments, real capacity, and how long anything takes.
"""

from penstock.testing.emulators.azure.cloud import Azure

__all__ = ["Azure"]
