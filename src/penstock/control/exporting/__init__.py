"""What every form has in common in which the steps of a run are handed to another system: templates in the store, tasks, parameters."""
