"""Dashboards: what is shown of a deployment, as rows of panels, and writers that say it in the words of one monitoring system."""
