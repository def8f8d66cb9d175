"""The steps of this pipeline: plain functions. What they return is stored and handed on; annotations say what fits."""

from penstock.stages.user.types import Metrics


def numbers(count: int) -> list[int]:
    """Change this body, or `count` in the file, and only the steps that follow from it run again."""
    return [n * n for n in range(count)]


def total(values: list[int]) -> Metrics:
    return Metrics({"total": float(sum(values)), "count": float(len(values))})
