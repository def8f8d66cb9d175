"""What a reaction can do, one file an action."""
