"""Plain values as YAML text that readers of YAML 1.1 (PyYAML) and of 1.2 (ruamel, Go) understand alike."""

from __future__ import annotations

import io
import re
from typing import Any

_READ_TWO_WAYS = re.compile(r"y|n|yes|no|on|off|true|false|null|~|[-+.\d].*|=|<<", re.IGNORECASE | re.DOTALL)
_ENDS_A_LINE = re.compile("[\x85\u2028\u2029]")  # of YAML 1.1 alone


def as_yaml(*values: Any) -> str:
    """One document a value."""
    from ruamel.yaml import YAML
    from ruamel.yaml.representer import RoundTripRepresenter

    class Representer(RoundTripRepresenter):
        pass

    Representer.add_representer(float, _float)
    writer, text = YAML(), io.StringIO()
    writer.Representer = Representer
    writer.default_flow_style = False
    writer.width = 140
    writer.representer.ignore_aliases = lambda _: True
    writer.dump_all([_quoted(value) for value in values], text)
    return text.getvalue().removeprefix("---\n")


def _float(representer: Any, value: float) -> Any:
    """YAML 1.1 takes 1e-05 for text: it wants a point in every float."""
    text = repr(value)
    return representer.represent_scalar("tag:yaml.org,2002:float", text if "." in text else text.replace("e", ".0e"))


def _quoted(value: Any) -> Any:
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString, SingleQuotedScalarString

    if isinstance(value, dict):
        return {_quoted(key): _quoted(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_quoted(inner) for inner in value]
    if isinstance(value, str) and _ENDS_A_LINE.search(value):
        return DoubleQuotedScalarString(value)  # where they are written as escapes
    return SingleQuotedScalarString(value) if isinstance(value, str) and _READ_TWO_WAYS.fullmatch(value) else value
