"""Alerting as pure functions: values of signals in, states of rules and messages that are due out. Time is an argument everywhere."""
