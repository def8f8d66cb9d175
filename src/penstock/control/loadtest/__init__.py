"""Load tests: an open-loop generator, the search for the knee, recovery from overload, reports, scripts for k6 and Locust."""
