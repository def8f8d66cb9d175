"""Commands. Each command is one file under cli/commands, imported when it is called. Floor 7."""
