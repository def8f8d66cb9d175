"""Drift as people look at it: the signals of a deployment, and any two tables held against each other."""
