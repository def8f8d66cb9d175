"""Reactions: what is done by itself when a condition holds, as a row that shows cause, action and effect."""
