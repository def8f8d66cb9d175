"""Kubernetes: jobs and replicas as pods of a cluster, over the official client."""
