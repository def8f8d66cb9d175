"""Ids, digests, units, errors, plug-in table, clock, atomic files. Imports nothing of Penstock. Floor 0."""
