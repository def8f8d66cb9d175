"""Conformance suites, in-memory twins, emulators: shipped, imported by tests only."""
