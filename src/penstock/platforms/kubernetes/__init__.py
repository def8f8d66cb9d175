"""Kubernetes. Empty until its issue."""
