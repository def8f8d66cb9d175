"""Prometheus rules from what the pipeline file says about alerts and roll-back."""
