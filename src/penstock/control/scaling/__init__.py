"""How many replicas a deployment should have: pure policies, what they read, and a simulator that drives the same functions."""
