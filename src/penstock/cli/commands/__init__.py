"""One file a command; each has a Typer called `app` (see cli/README.md)."""
