"""Prompt injection and jailbreaks: text that tries to take a model's orders from its owner. Rules, and the model `models/injection.bin`.

A rule is a turn of phrase of a known kind of attack; the linear model adds what single turns of phrase miss. English; other languages,
encoded text (base64, ciphers) and attacks split over messages are not covered. A request for something harmful is no injection.
"""

from __future__ import annotations

import re
from typing import ClassVar

from penstock.screening.contract import Finding, last_word
from penstock.screening.folding import folded
from penstock.screening.linear import load

CHECK = "injection"
_GAP = r"[^.!?\n]{0,40}?"
_ORDERS = (
    r"(?:instructions?|prompts?|directions?|directives?|guidelines?|commands?|orders|rules|programming|training"
    r"|messages?|context|conversations?|text)"
)
_VERB = (
    r"(?:ignore|disregard|forget|override|overrule|bypass|neglect|skip|discard|drop|dismiss|cancel"
    r"|do not follow|don'?t follow|stop following)"
)
_EARLIER = (
    r"(?:previous|prior|above|earlier|preceding|foregoing|initial|original|system|developer|your|all the"
    r"|existing|current|former|past|following)"
)

# (weight 0–1, one of which must be there, pattern), on folded text. Each gap is bounded, so that time stays linear.
_RULES: tuple[tuple[float, tuple[str, ...], re.Pattern[str]], ...] = tuple(
    (weight, anchors, re.compile(pattern))
    for weight, anchors, pattern in (
        (
            0.9,
            (
                "instruct",
                "prompt",
                "direct",
                "guideline",
                "command",
                "orders",
                "rules",
                "programming",
                "training",
                "message",
                "context",
                "conversation",
                "text",
            ),
            rf"\b{_VERB}\b{_GAP}\b{_EARLIER}\b{_GAP}\b{_ORDERS}\b",
        ),
        (
            0.6,
            ("forget", "ignore", "disregard"),
            rf"\b(?:forget|ignore|disregard) (?:everything|all(?: of)? (?:that|this|what)|anything"
            rf"|whatever)\b{_GAP}\b(?:before|above|told|said|learn(?:ed|t)|know|prior)\b",
        ),
        (0.6, ("everything",), r"\b(?:stop|cancel|drop|abort) everything\b"),
        (
            0.5,
            ("prompt", "instruct", "directive", "guideline"),
            rf"\b(?:reveal|print|show|repeat|output|display|leak|tell me|give me|write out|what (?:is|are"
            rf"|were))\b{_GAP}\b(?:system|initial|original|hidden|secret|first|your) {_GAP}\b(?:prompt|instructions"
            rf"|directives|guidelines)\b",
        ),
        (0.6, ("repeat",), rf"\brepeat\b{_GAP}\b(?:words|text|everything|sentences?) (?:above|before)\b"),
        (
            0.8,
            ("anything now", "jailbreak", "dan mode", "developer mode", "god mode", "evil"),
            r"\bdo anything now\b|\bjailbreak(?:ed|ing)?\b|\bdan mode\b|\bdeveloper mode\b|\bgod mode\b"
            r"|\bevil[- ]?(?:bot|confidant|mode)\b",
        ),
        (
            0.7,
            (
                "restrict",
                "limit",
                "filter",
                "rules",
                "guideline",
                "censor",
                "ethic",
                "morals",
                "boundar",
                "polic",
                "constraint",
                "confines",
                "safeguard",
            ),
            rf"\b(?:act|acting|pretend|respond|answer|behave|roleplay|role-play|simulate|reply|immerse|play|you are"
            rf"|you're|become|called|named)\b{_GAP}\b(?:without|no|free (?:from|of)|unbound by|not bound by|ignor\w+"
            rf"|beyond) (?:any |all |the |its |your |ethical |moral |content |of |typical |usual )*(?:restrictions?"
            rf"|limits?|limitations?|filters?|rules|guidelines|censorship|ethics|morals|boundaries|policy|policies"
            rf"|constraints|confines|safeguards)\b",
        ),
        (
            0.6,
            ("unfiltered", "uncensored", "unrestricted", "amoral", "unethical", "unaligned"),
            r"\b(?:unfiltered|uncensored|unrestricted|amoral|unethical|unaligned) (?:ai|model|assistant|chatbot|bot"
            r"|version|response|answer|persona|mode|language model)\b",
        ),
        (
            0.6,
            ("confines", "free", "shackles", "chains", "constraints"),
            rf"\b(?:break|broken|breaking|freed?|escape[ds]?)\b{_GAP}\b(?:confines|free|shackles|chains"
            rf"|constraints)\b{_GAP}\b(?:ai|openai|model|rules|programming|restrictions)\b",
        ),
        (
            0.5,
            ("rules", "polic", "guideline", "ethic", "law", "restrict", "openai", "instruct"),
            rf"\b(?:does not|doesn'?t|do not|don'?t|no longer|never) (?:have to |need to )?(?:abide|adhere|comply|follow"
            rf"|obey|respect|care)\b{_GAP}\b(?:rules|policy|policies|guidelines|ethics|laws?|restrictions|openai"
            rf"|instructions)\b",
        ),
        (
            0.5,
            ("refuse", "reject", "decline", "say no", "say that you"),
            r"\b(?:never|not|cannot|can'?t|don'?t) (?:ever )?(?:refuse|reject|decline|say no|say that you)\b",
        ),
        (
            0.5,
            ("bypass", "circumvent", "evade", "disable", "turn off", "get around", "deactivate", "remove"),
            rf"\b(?:bypass|circumvent|evade|disable|turn off|get around|deactivate|remove)\b{_GAP}\b(?:safety|content"
            rf"|moderation|security|ethical|your)\b{_GAP}\b(?:filters?|polic(?:y|ies)|guidelines|restrictions?|measures"
            rf"|guardrails?|safeguards?|protocols?)\b",
        ),
        (0.5, ("character",), r"\bstay in character\b|\bbreak(?:ing)? character\b|\bin character at all times\b"),
        (
            0.5,
            ("normal", "classic", "standard", "gpt", "filtered"),
            r"\b(?:two|2|both)\b[^.!?\n]{0,40}\b(?:different |separate )*(?:ways|responses"
            r"|answers)\b[^\n]{0,120}\b(?:normal|normally|classic|standard|chatgpt|gpt|filtered)\b",
        ),
        (
            0.6,
            ("<|", "inst]", "sys>", "system>", "system", "new instruction", "end of"),
            r"<\|(?:im_start|system|endoftext|start_header_id)\|>|\[/?inst\]|<</?sys>>|</?system>|^\s*#{2,} ?(?:system"
            r"|new instructions?)\b|\bbegin system\b|\bend of (?:system|user) (?:prompt|input|message)\b",
        ),
        (
            0.5,
            ("system", "developer", "admin"),
            r"(?:^|\n)\s*(?:system|developer|admin(?:istrator)?)\s*(?:prompt|override|message|note)?\s*:\s*\S",
        ),
        (
            0.5,
            ("instruct", "task", "directive", "orders"),
            r"\b(?:new|updated|real|actual|true) (?:instructions?|task|directives?|orders)\b\s*(?::|are\b|is\b|follow)",
        ),
        (
            0.5,
            ("base64", "rot13", "hex", "morse", "cipher"),
            r"\b(?:decode|decrypt|unscramble|translate)\b[^.!?\n]{0,40}\b(?:base64|rot13|hex|morse"
            r"|cipher)\b[^\n]{0,60}\b(?:follow|execute|obey|comply|answer|do)\b",
        ),
        (0.4, ("hypothetical",), r"\bhypothetical(?:ly)?\b[^.!?\n]{0,60}\b(?:no (?:rules|laws|ethics|limits)|anything)\b"),
        (
            0.4,
            (
                "just say",
                "just print",
                "just output",
                "just write",
                "just reply",
                "just respond",
                "only say",
                "only print",
                "only output",
                "only write",
                "only reply",
                "only respond",
                "simply",
            ),
            r"\b(?:just|only|simply) (?:say|print|output|write|reply|respond)(?: with)?[: ]+[\"'“]",
        ),
        (0.5, ("token",), r"\btoken(?:s)?\b[^.!?\n]{0,60}\b(?:deduct|lose|lost|die|cease|terminat)\w*"),
    )
)


class Injection:
    """The check `injection`. `threshold` 0–1 on the score of rules and model together; default: the model's."""

    name = CHECK
    whole: ClassVar[bool] = True
    reach: ClassVar[int] = 256

    def __init__(self, threshold: float | None = None) -> None:
        self._model = load(CHECK)
        self.threshold = self._model.threshold if threshold is None else threshold

    def find(self, text: str) -> list[Finding]:
        rules, first, last = by_rules(text)
        score = 1 - (1 - rules) * (1 - self._model.score(text))
        if score < max(self.threshold, 1e-9):
            return []
        start, end = (first, last) if rules else self._model.peak(text)
        return [Finding(CHECK, CHECK, start, end, score)]

    def opening(self, text: str) -> int:
        return last_word(text)


def by_rules(text: str) -> tuple[float, int, int]:
    """(score, start, end) of the rules alone: 1 - the product of (1 - weight) of rules that match within 1,000 characters."""
    flat = folded(text)
    hits = sorted(
        (match.start(), match.end(), weight, rule)
        for rule, (weight, anchors, pattern) in enumerate(_RULES)
        if any(anchor in flat.text for anchor in anchors)
        for match in _few(pattern, flat.text)
    )
    best, span = 0.0, (0, 0)
    for index, (start, _, _, _) in enumerate(hits):
        near = {rule: (weight, end) for at, end, weight, rule in hits[index : index + 32] if at < start + 1000}
        miss = 1.0
        for weight, _ in near.values():
            miss *= 1 - weight
        if 1 - miss > best:
            best, span = 1 - miss, (start, max(end for _, end in near.values()))
    return (best, *flat.spans([span])[0]) if best else (0.0, 0, 0)


def _few(pattern: re.Pattern[str], text: str) -> list[re.Match[str]]:
    """At most 64 matches: more say nothing more."""
    found = []
    for match in pattern.finditer(text):
        found.append(match)
        if len(found) == 64:
            break
    return found
