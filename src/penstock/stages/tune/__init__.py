"""Hyper-parameter search. Empty until its issue."""
