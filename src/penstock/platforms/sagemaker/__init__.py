"""AWS SageMaker. Empty until its issue."""
