"""Alerts at work: a monitor row for each watched deployment, alerts as rows that stay, and messages to people."""
