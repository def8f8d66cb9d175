"""What is in a text: personal data, prompt injection, toxicity, words. Pure Python and `re`, so that the gateway can use it. Floor 3."""

from penstock.screening.contract import Check, Finding
from penstock.screening.personal import find, mask

__all__ = ["Check", "Finding", "find", "mask"]
