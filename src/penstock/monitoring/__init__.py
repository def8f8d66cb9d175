"""Pure statistics of what happens live: windows of records, the machine, tests of versions against each other. Floor 3."""
