"""Rollouts: a new version takes over step by step, judged by its own requests, or goes back."""
