"""Amazon SageMaker on this machine: `with SageMaker(folder) as cloud`, then boto3 under `cloud.environment`.

Requests are held to botocore's own service model, states move as documented, and jobs and endpoints are processes.
What it cannot show: images, networks, IAM policies, real capacity, and how long anything takes.
"""

from penstock.testing.emulators.sagemaker.cloud import SageMaker

__all__ = ["SageMaker"]
