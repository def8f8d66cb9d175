"""What an engine checks of a request before it works on it; each check raises BadInput with the value and the rule."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.core.errors import BadInput
from penstock.engines.contract import ClassifyRequest, EngineInfo, GenerateRequest, OutputFormat

ROLES = ("system", "user", "assistant", "tool")
MOST_ANSWERS, MOST_LOGPROBS = 64, 20  # `n` and `logprobs` of one request
MOST_STOPS, LONGEST_STOP = 64, 512  # stop strings of a request, characters of one


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
    _check_prompt(request)
    _check_numbers(request)
    if len(request.stop) > MOST_STOPS:
        raise BadInput(f"the request has {len(request.stop)} stop strings; at most {MOST_STOPS} are taken")
    for stop in request.stop:
        check_text(stop, "a stop string")
        if not stop or len(stop) > LONGEST_STOP:
            raise BadInput(f"a stop string has {len(stop)} characters; it must have 1 to {LONGEST_STOP}")
    if request.output is not None:
        check_output(request.output)


def check_output(output: OutputFormat) -> None:
    """The kind and the type of its value; the schema, expression or grammar itself is read where it is used."""
    wanted = {"json": type(None), "json_schema": (dict, bool), "regex": str, "grammar": str}
    if output.kind not in wanted:
        raise BadInput(f"the output's kind is {output.kind!r}; known: {', '.join(wanted)}")
    if not isinstance(output.value, wanted[output.kind]):  # type: ignore[arg-type]  # types and tuples of types
        raise BadInput(f"an output of kind {output.kind!r} cannot have a value of type {type(output.value).__name__}")
    if isinstance(output.value, str):
        check_text(output.value, f"the {output.kind}")


def _check_prompt(request: GenerateRequest) -> None:
    if [request.prompt is not None, bool(request.messages), bool(request.prompt_ids)].count(True) != 1:
        raise BadInput("a request needs exactly one of `prompt`, `prompt_ids` and `messages`")
    if request.prompt is not None:
        check_text(request.prompt, "the prompt")
    for message in request.messages:
        check_text(message.content, f"the {message.role} message")
        if message.role not in ROLES:
            raise BadInput(f"a message has role {message.role!r}; known: {', '.join(ROLES)}")
    for one in request.prompt_ids:
        if isinstance(one, bool) or not isinstance(one, int) or one < 0:
            raise BadInput(f"prompt_ids holds {one!r}; token ids are whole numbers from 0 on")
    if request.messages and request.echo:
        raise BadInput("echo is for prompts; a chat is not echoed", remedy="Leave echo out, or send `prompt`.")
    if request.tools and not request.messages:
        raise BadInput("tools are for chats: only a chat template can show them to the model", remedy="Send `messages`.")


def _check_numbers(request: GenerateRequest) -> None:
    limits = (
        ("max_tokens", request.max_tokens, 1, None),
        ("temperature", request.temperature, 0, 100),
        ("top_p", request.top_p, 0, 1),
        ("top_k", request.top_k, 1, None),
        ("seed", request.seed, 0, 2**64 - 1),
        ("n", request.n, 1, MOST_ANSWERS),
        ("logprobs", request.logprobs, 0, MOST_LOGPROBS),
        ("presence_penalty", request.presence_penalty, -2, 2),
        ("frequency_penalty", request.frequency_penalty, -2, 2),
        ("repetition_penalty", request.repetition_penalty, 0, 100),
    )
    for name, value, least, most in limits:
        if value is not None and not (least <= value and (most is None or value <= most)):
            raise BadInput(f"{name} is {value}; it must be at least {least}" + ("" if most is None else f" and at most {most}"))
    if request.top_p == 0:
        raise BadInput("top_p is 0; it must be above 0", remedy="Use temperature 0 for greedy decoding.")
    if request.repetition_penalty == 0:
        raise BadInput("repetition_penalty is 0; it must be above 0, and 1 is none")
