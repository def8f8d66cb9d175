"""This machine: warm worker processes and replica processes."""
