"""Triggers: when a pipeline runs unasked, by the clock or because its data changed."""
