"""Who counts the instances where Azure Monitor does: an autoscale setting for each deployment, by the share of its CPUs that it uses."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from penstock.platforms.azureml.arm import SCALE, Arm, not_there
from penstock.platforms.azureml.naming import TAG, store_mark, tags


@dataclass(frozen=True, slots=True)
class Scaling:
    """Does nothing, and asks nobody, where the section has no `autoscale`, and on Kubernetes, where the cluster's router scales."""

    arm: Arm
    store: str

    def follow(self, endpoint: str, deployments: Collection[str]) -> None:
        """Azure counts the instances of these, and of no others of the endpoint. Idempotent."""
        if self.arm.settings.autoscale is None or self.arm.settings.kubernetes is not None:
            return
        wanted = {_name(endpoint, deployment): deployment for deployment in deployments}
        there = self._there(endpoint)
        for name in wanted.keys() - there:
            self.arm.beside(SCALE, "PUT", name, self._setting(name, endpoint, wanted[name]))
        for name in there - wanted.keys():
            self.arm.beside(SCALE, "DELETE", name, known=not_there)

    def _there(self, endpoint: str) -> set[str]:
        answer = self.arm.beside(SCALE, "GET")
        rows = answer.body.get("value", ()) if answer is not None else ()
        return {row["name"] for row in rows if row["name"].startswith(f"{endpoint}.")}

    def _setting(self, name: str, endpoint: str, deployment: str) -> dict[str, Any]:
        settings, bounds = self.arm.settings, self.arm.settings.autoscale
        assert bounds is not None
        target = f"{self.arm.workspace}/onlineEndpoints/{endpoint}/deployments/{deployment}"
        capacity = {"minimum": str(bounds.min), "maximum": str(bounds.max), "default": str(bounds.min)}
        more = (("GreaterThan", bounds.cpu, "Increase"), ("LessThan", bounds.cpu / 2, "Decrease"))
        rules = [
            {
                "metricTrigger": {
                    "metricName": "CpuUtilizationPercentage",
                    "metricResourceUri": target,
                    "timeGrain": "PT1M",
                    "statistic": "Average",
                    "timeWindow": "PT5M",
                    "timeAggregation": "Average",
                    "operator": operator,
                    "threshold": limit,
                },
                "scaleAction": {"direction": direction, "type": "ChangeCount", "value": "1", "cooldown": f"PT{int(bounds.pause)}S"},
            }
            for operator, limit, direction in more
        ]
        return {
            "location": settings.region,
            "tags": tags(settings.tags, {TAG: store_mark(self.store)}),
            "properties": {
                "enabled": True,
                "name": name,
                "targetResourceUri": target,
                "profiles": [{"name": "by use of CPUs", "capacity": capacity, "rules": rules}],
            },
        }


def _name(endpoint: str, deployment: str) -> str:
    return f"{endpoint}.{deployment}"
