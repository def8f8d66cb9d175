"""What an engine checks of a request before it works on it; each check raises BadInput with the value and the rule."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.core.errors import BadInput
from penstock.engines.contract import ClassifyRequest, EngineInfo, GenerateRequest

ROLES = ("system", "user", "assistant")


def check_text(text: str, what: str) -> None:
    """Refuses what is no string, or half of a surrogate pair: a tokenizer would fail on it, and its whole batch with it."""
    if not isinstance(text, str):
        raise BadInput(f"{what} is a {type(text).__name__}, not a string")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise BadInput(f"{what} holds {text[error.start]!r} at {error.start}, which is half of a character") from error


def check_texts(texts: Sequence[str]) -> None:
    if isinstance(texts, str) or not texts:
        raise BadInput("the request holds no list of texts", remedy="Send at least one text.")
    for at, text in enumerate(texts):
        check_text(text, f"text {at}")


def check_classify(request: ClassifyRequest, info: EngineInfo) -> None:
    check_texts(request.texts)
    if not info.labels:
        raise BadInput("this model has no labels, so it cannot classify", remedy="Send it embedding or generation requests.")
    if request.top_k is not None and request.top_k < 1:
        raise BadInput(f"top_k is {request.top_k}; it must be at least 1")


def check_generate(request: GenerateRequest) -> None:
    """The request's own values; whether it fits the model's length is checked when its tokens are known."""
    if (request.prompt is None) == (not request.messages):
        raise BadInput("a request needs exactly one of `prompt` and `messages`")
    if request.prompt is not None:
        check_text(request.prompt, "the prompt")
    for message in request.messages:
        check_text(message.content, f"the {message.role} message")
        if message.role not in ROLES:
            raise BadInput(f"a message has role {message.role!r}; known: {', '.join(ROLES)}")
    limits = (
        ("max_tokens", request.max_tokens, 1, None),
        ("temperature", request.temperature, 0, 100),
        ("top_p", request.top_p, 0, 1),
        ("top_k", request.top_k, 1, None),
        ("seed", request.seed, 0, 2**64 - 1),
    )
    for name, value, least, most in limits:
        if value is not None and not (least <= value and (most is None or value <= most)):
            raise BadInput(f"{name} is {value}; it must be at least {least}" + ("" if most is None else f" and at most {most}"))
    if request.top_p == 0:
        raise BadInput("top_p is 0; it must be above 0", remedy="Use temperature 0 for greedy decoding.")
    if any(not stop for stop in request.stop):
        raise BadInput("a stop string is empty")
