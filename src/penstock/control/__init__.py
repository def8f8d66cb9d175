"""Planning and reconcilers: runs, models, deployments. The one place that knows the whole journey. Floor 6."""
