"""Devices. Empty until its issue."""
