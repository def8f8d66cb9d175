"""Anomalies as pure functions: a history of signals in, a detector out whose points are false alarms as rarely as was declared."""
