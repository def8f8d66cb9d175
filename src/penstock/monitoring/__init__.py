"""Pure statistics of what happens live: windows of records, drift, anomalies, causes, alerting, tests of versions against each other."""
