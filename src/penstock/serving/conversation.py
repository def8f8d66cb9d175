"""Messages and tools of a chat request, as an engine's chat template takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from penstock.engines.contract import Message
from penstock.serving.fields import bad, kind_of

MAX_MESSAGES, MAX_TOOLS = 4096, 128
_ROLES = ("assistant", "developer", "system", "tool", "user")


def messages_of(value: Mapping[str, Any]) -> list[Message]:
    """`messages` of the body. Raises RequestRefused naming the message and its field."""
    given = value.get("messages")
    if not isinstance(given, list) or not 1 <= len(given) <= MAX_MESSAGES:
        raise bad(f"messages must be a list with 1 to {MAX_MESSAGES} messages", "messages")
    return [_message(one, f"messages[{at}]") for at, one in enumerate(given)]


def tools_of(value: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The tools that the model may call: none when `tool_choice` is none.

    Forcing a call needs an answer bound to the tool's schema in the model's own notation, which no engine here knows: refused.
    """
    tools, choice = value.get("tools"), value.get("tool_choice")
    if tools is None:
        tools = []
    if not isinstance(tools, list) or len(tools) > MAX_TOOLS:
        raise bad(f"tools must be a list of up to {MAX_TOOLS} tools", "tools")
    for at, tool in enumerate(tools):
        _function(tool, f"tools[{at}]", "parameters")
    if choice not in (None, "none", "auto"):
        raise bad("tool_choice must be auto or none: this model cannot be made to call a tool", "tool_choice", "unsupported_value")
    return () if choice == "none" else tuple(tools)


def _message(value: Any, where: str) -> Message:
    if not isinstance(value, dict):
        raise bad(f"{where} must be an object, not {kind_of(value)}", where)
    role, content = value.get("role"), value.get("content")
    if not isinstance(role, str) or role not in _ROLES:
        raise bad(f"{where}.role must be one of {', '.join(_ROLES)}, not {role!r:.60}", f"{where}.role")
    calls = _calls(value.get("tool_calls"), role, f"{where}.tool_calls")
    answers = value.get("tool_call_id")
    if role == "tool" and (not isinstance(answers, str) or not answers):
        raise bad(f"{where}.tool_call_id must name the call that this message answers", f"{where}.tool_call_id")
    if isinstance(content, list):
        content = "".join(_part(p, f"{where}.content[{i}]") for i, p in enumerate(content))
    if content is None and calls:
        content = ""
    if not isinstance(content, str):
        raise bad(f"{where}.content must be a string, not {kind_of(content)}", f"{where}.content")
    return Message("system" if role == "developer" else role, content, calls, answers if role == "tool" else None)


def _part(value: Any, where: str) -> str:
    if isinstance(value, dict) and value.get("type") == "text" and isinstance(value.get("text"), str):
        return str(value["text"])
    kind = value.get("type") if isinstance(value, dict) else kind_of(value)
    raise bad(f"{where} has type {kind!r:.60}; this model reads text only", where)


def _calls(value: Any, role: str, where: str) -> tuple[Mapping[str, Any], ...]:
    if value is None or value == []:  # many clients send an empty list with every message
        return ()
    if role != "assistant" or not isinstance(value, list) or len(value) > MAX_TOOLS:
        raise bad(f"{where} must be a list of up to {MAX_TOOLS} calls, of an assistant's message", where)
    for at, call in enumerate(value):
        _function(call, f"{where}[{at}]", "arguments")
    return tuple(value)


def _function(value: Any, where: str, key: str) -> None:
    """Checks `{"type": "function", "function": {"name": …, key: …}}`: `parameters` are a schema, `arguments` JSON text."""
    function = value.get("function") if isinstance(value, dict) else None
    if not isinstance(function, dict) or value.get("type") != "function":
        raise bad(f'{where} must be {{"type": "function", "function": {{…}}}}', where)
    if not isinstance(function.get("name"), str) or not 1 <= len(function["name"]) <= 128:
        raise bad(f"{where}.function.name must be a string of 1 to 128 characters", f"{where}.function.name")
    given, kind = function.get(key), dict if key == "parameters" else str
    if given is not None and not isinstance(given, kind):
        raise bad(f"{where}.function.{key} must be {kind_of(kind())}, not {kind_of(given)}", f"{where}.function.{key}")
