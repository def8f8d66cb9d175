"""What executes a model, for a replica or for evaluation: the same class over the same bytes. Floor 2."""
