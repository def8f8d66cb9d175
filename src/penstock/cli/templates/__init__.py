"""Projects that `penstock init` writes: one folder a template, `my-model` standing for the name."""
