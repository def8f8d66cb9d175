"""Where the texts are in requests and answers of the /v1 routes, and how they are replaced.

`over_input` and `over_choice` call `edit(text, role)` for each text and give back the same object where nothing changed; nothing is changed
in place. Shapes that are not the API's are left alone: the replica refuses them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

Edit = Callable[[str, str], str]
SPOKEN = ("content", "reasoning_content", "reasoning", "refusal")  # texts of a message or delta
_FIELDS = {"/v1/classify": ("input",), "/v1/embeddings": ("input",), "/v1/completions": ("prompt", "suffix")}


class Unreadable(Exception):
    """The field `param` holds token ids instead of text."""

    def __init__(self, param: str) -> None:
        super().__init__(param)
        self.param = param


def over_input(path: str, value: Mapping[str, Any], edit: Edit) -> Mapping[str, Any]:
    """Raises Unreadable where token ids stand for text."""
    if path == "/v1/chat/completions":
        return _with(value, "messages", lambda messages: _each(messages, lambda message: over_message(message, edit)))
    for field in _FIELDS.get(path, ()):
        value = _with(value, field, lambda texts, field=field: _texts(texts, edit, field))  # type: ignore[misc]
    return value


def over_message(message: Any, edit: Edit) -> Any:
    """A message of a conversation: its texts, and the arguments of the tools it calls."""
    if not isinstance(message, Mapping):
        return message
    role = str(message.get("role"))
    for field in SPOKEN:
        message = _with(message, field, lambda content: _content(content, edit, role))
    message = _with(message, "tool_calls", lambda calls: _each(calls, lambda call: _call(call, edit, role)))
    return _with(message, "function_call", lambda called: _arguments(called, edit, role))


def size(path: str, value: Mapping[str, Any]) -> int:
    """Characters of all texts."""
    if path == "/v1/chat/completions":
        messages = value.get("messages")
        return sum(_length(m) for m in messages if isinstance(m, Mapping)) if isinstance(messages, list) else 0
    return sum(_length(value.get(field)) for field in _FIELDS.get(path, ()))


def _length(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    inner: Iterator[Any] = iter(value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ())
    return sum(_length(item) for item in inner)


def _with(value: Mapping[str, Any], field: str, change: Callable[[Any], Any]) -> Mapping[str, Any]:
    old = value.get(field)
    if old is None:
        return value
    new = change(old)
    return value if new is old else {**value, field: new}


def _each(items: Any, change: Callable[[Any], Any]) -> Any:
    if not isinstance(items, list):
        return items
    new = [change(item) for item in items]
    return items if all(a is b for a, b in zip(items, new, strict=True)) else new


def _texts(value: Any, edit: Edit, param: str) -> Any:
    if isinstance(value, str):
        return edit(value, "user")
    if isinstance(value, list):
        if any(isinstance(item, (int, list)) for item in value):
            raise Unreadable(param)
        return _each(value, lambda item: edit(item, "user") if isinstance(item, str) else item)
    return value


def _content(content: Any, edit: Edit, role: str) -> Any:
    if isinstance(content, str):
        return edit(content, role)
    return _each(content, lambda part: _with(part, "text", lambda text: _one(text, edit, role)) if isinstance(part, Mapping) else part)


def _one(text: Any, edit: Edit, role: str) -> Any:
    return edit(text, role) if isinstance(text, str) else text


def _call(call: Any, edit: Edit, role: str) -> Any:
    if not isinstance(call, Mapping):
        return call
    call = _with(call, "function", lambda called: _arguments(called, edit, role))
    return _with(
        call,
        "custom",
        lambda called: _with(called, "input", lambda text: _one(text, edit, role)) if isinstance(called, Mapping) else called,
    )


def _arguments(called: Any, edit: Edit, role: str) -> Any:
    if not isinstance(called, Mapping):
        return called
    return _with(called, "arguments", lambda text: arguments(text, edit, role) if isinstance(text, str) else text)


def arguments(text: str, edit: Edit, role: str) -> str:
    """JSON in a string: its values are edited one by one, so that it stays JSON; what is not JSON is edited as text."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return edit(text, role)
    new = _json(value, edit, role)
    return text if new is value else orjson.dumps(new).decode()


def _json(value: Any, edit: Edit, role: str) -> Any:
    if isinstance(value, str):
        return edit(value, role)
    if isinstance(value, int) and not isinstance(value, bool):
        told = edit(plain := str(value), role)
        return value if told is plain or told == plain else told
    if isinstance(value, list):
        return _each(value, lambda item: _json(item, edit, role))
    if isinstance(value, dict):
        for key in value:
            value = _with(value, key, lambda item: _json(item, edit, role))
    return value
