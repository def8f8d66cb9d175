"""A JSON schema (draft 2020-12) as a grammar: whatever is written parses, and is valid under the schema.

The answers are some of the valid ones: properties in the schema's order, at most one space after a comma or colon, no property that the
schema does not name (unless it names none), numbers of bounded length. Not covered, and refused: what a grammar cannot count or
compare (`not`, `uniqueItems`, `if`, ranges of fractions …). Annotations such as `title`, and `format`, are not read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from penstock.core.errors import BadInput
from penstock.engines.constraints.integers import between
from penstock.engines.constraints.regex import from_regex
from penstock.engines.constraints.rules import Expression, Rules, characters, either, literal, reference, repeated, sequence

_NOTES = {"title", "description", "default", "examples", "$schema", "$id", "$comment", "deprecated", "readOnly", "writeOnly", "format"}
_DEFINITIONS = {"$defs", "definitions"}
_KEYS = {
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "prefixItems", "minItems", "maxItems"},
    "string": {"minLength", "maxLength", "pattern"},
    "integer": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    "number": set[str](),
    "boolean": set[str](),
    "null": set[str](),
}
_SPACE = repeated(literal(" "), 0, 1)
_DIGIT, _HEX = characters([(0x30, 0x39)]), characters([(0x30, 0x39), (0x41, 0x46), (0x61, 0x66)])
_UNWRITTEN = ((0, 0x1F), (0x22, 0x22), (0x5C, 0x5C))  # characters that a JSON string cannot hold as they are
DEEPEST = 32  # schemas inside each other, references not counted


def from_schema(schema: Any) -> Rules:
    """The rules, of which `root` is the first. Raises BadInput naming the place and the keyword that it does not know."""
    reader = _Reader(schema)
    reader.rules.add("root", reader.value(schema, "#", 0))
    return reader.rules


def json_object() -> Rules:
    """Any JSON object."""
    return from_schema({"type": "object"})


class _Reader:
    def __init__(self, root: Any) -> None:
        self.rules, self._root = Rules(), root
        self._named: dict[str, str] = {}  # rule by reference
        self._kinds: dict[str, Callable[[Mapping[str, Any], str, int], Expression]] = {
            "object": self._object,
            "array": self._array,
            "string": self._string,
            "integer": self._integer,
            "number": lambda _schema, _place, _depth: self._basic("number"),
            "boolean": lambda _schema, _place, _depth: either([literal("true"), literal("false")]),
            "null": lambda _schema, _place, _depth: literal("null"),
        }

    def value(self, schema: Any, place: str, depth: int) -> Expression:
        if depth > DEEPEST:
            raise BadInput(f"the JSON schema is nested deeper than {DEEPEST} at {place}")
        if schema is True or schema == {}:
            return self._basic("any")
        if not isinstance(schema, Mapping):
            raise BadInput(f"the JSON schema has {schema!r:.60} at {place}; nothing is valid under it, or it is no schema")
        said = set(schema) - _NOTES - _DEFINITIONS
        if "$ref" in said:
            return self._reference(_alone(schema, "$ref", said, place), place, depth)
        for name in ("anyOf", "oneOf"):
            if name in said:
                return self._choice(_alone(schema, name, said, place), f"{place}/{name}", depth)
        if "allOf" in said:
            [only] = _schemas(_alone(schema, "allOf", said, place), f"{place}/allOf", 1)
            return self.value(only, f"{place}/allOf/0", depth + 1)
        for name in ("const", "enum"):
            if name in said:
                values = [schema[name]] if name == "const" else schema[name]
                return _constants(values, schema.get("type", list(_KEYS)), said - {name, "type"}, f"{place}/{name}")
        return self._typed(schema, said, place, depth)

    def _typed(self, schema: Mapping[str, Any], said: set[str], place: str, depth: int) -> Expression:
        kinds = schema.get("type") or next(([kind] for kind, keys in _KEYS.items() if said & keys), list(_KEYS))
        kinds = [kinds] if isinstance(kinds, str) else kinds
        for kind in kinds:
            if kind not in _KEYS:
                raise BadInput(f"the JSON schema has type {kind!r:.60} at {place}; known: {', '.join(_KEYS)}")
        for name in sorted(said - {"type"} - {key for kind in kinds for key in _KEYS[kind]}):
            raise BadInput(
                f"the JSON schema has {name!r:.60} at {place}, which cannot be enforced",
                remedy=f"Leave it out. Known there: {', '.join(sorted({key for kind in kinds for key in _KEYS[kind]})) or 'nothing'}.",
            )
        found = [self._kinds[kind](schema, place, depth) for kind in kinds]
        return found[0] if len(found) == 1 else either(found)

    def _choice(self, given: Any, place: str, depth: int) -> Expression:
        options = _schemas(given, place, None)
        return either([self.value(option, f"{place}/{at}", depth + 1) for at, option in enumerate(options)])

    def _reference(self, to: Any, place: str, depth: int) -> Expression:
        if to not in self._named:
            target = self._root
            for part in _steps(to, place):
                if not isinstance(target, Mapping) or part not in target:
                    raise BadInput(f"the JSON schema refers at {place} to {to!r:.80}, which is not there")
                target = target[part]
            if isinstance(target, Mapping) and "$ref" in target:
                raise BadInput(f"the JSON schema refers at {place} to {to!r:.80}, which is itself only a reference")
            self._named[to] = f"ref{len(self._named)}"
            self.rules.add(self._named[to], self.value(target, to, depth + 1))
        return reference(self._named[to])

    def _object(self, schema: Mapping[str, Any], place: str, depth: int) -> Expression:
        properties, required = schema.get("properties", {}), schema.get("required", [])
        if not isinstance(properties, Mapping) or not isinstance(required, list):
            raise BadInput(f"the JSON schema has properties that are no object, or a required that is no list, at {place}")
        for name in required:
            if name not in properties:
                raise BadInput(f"the JSON schema requires {name!r:.60} at {place}, but does not describe it under properties")
        if not properties:
            return self._map(schema.get("additionalProperties", True), place, depth)
        members = [
            (sequence([literal(_json(name) + ":"), _SPACE, self.value(inner, f"{place}/properties/{name}", depth + 1)]), name in required)
            for name, inner in properties.items()
        ]
        return sequence([literal("{"), self._members(members), literal("}")])

    def _members(self, members: Sequence[tuple[Expression, bool]]) -> Expression:
        """Members in order, commas between those that are there: one rule for each place, with and without one before it."""
        comma = sequence([literal(","), _SPACE])
        first, later = literal(""), literal("")
        for member, needed in reversed(members):
            name = f"m{len(self.rules.bodies)}"
            self.rules.add(name, member)
            begins = sequence([reference(name), later])
            follows = sequence([comma, reference(name), later])
            ends = [] if needed else [(first, later)]
            new_first = either([begins, *(one for one, _ in ends)])
            new_later = either([follows, *(one for _, one in ends)])
            first = self.rules.add(f"f{len(self.rules.bodies)}", new_first)
            later = self.rules.add(f"l{len(self.rules.bodies)}", new_later)
        return first

    def _map(self, values: Any, place: str, depth: int) -> Expression:
        if values is False:
            return literal("{}")
        inner = self.value(values, f"{place}/additionalProperties", depth + 1)
        pair = sequence([self._basic("string"), literal(":"), _SPACE, inner])
        more = repeated(sequence([literal(","), _SPACE, pair]), 0, None)
        return sequence([literal("{"), repeated(sequence([pair, more]), 0, 1), literal("}")])

    def _array(self, schema: Mapping[str, Any], place: str, depth: int) -> Expression:
        first = [self.value(one, f"{place}/prefixItems/{at}", depth + 1) for at, one in enumerate(schema.get("prefixItems", []))]
        least, most = _counts(schema, "minItems", "maxItems", place)
        if first and (least > len(first) or (most is not None and most < len(first)) or schema.get("items", False) is not False):
            raise BadInput(f"the JSON schema mixes prefixItems with other counts or items at {place}, which cannot be enforced")
        comma = sequence([literal(","), _SPACE])
        if first:
            rest = [part for one in first[1:] for part in (comma, one)]
            return sequence([literal("["), first[0], *rest, literal("]")])
        inner = self.value(schema.get("items", True), f"{place}/items", depth + 1)
        if most == 0:
            return literal("[]")
        rest_of = repeated(sequence([comma, inner]), max(0, least - 1), None if most is None else most - 1)
        return sequence([literal("["), repeated(sequence([inner, rest_of]), min(1, least), 1), literal("]")])

    def _string(self, schema: Mapping[str, Any], place: str, _depth: int) -> Expression:
        least, most = _counts(schema, "minLength", "maxLength", place)
        if "pattern" in schema:
            if least or most is not None or not isinstance(schema["pattern"], str):
                raise BadInput(f"the JSON schema has a pattern and a length, or a pattern that is no string, at {place}")
            return sequence([literal('"'), from_regex(schema["pattern"], _inside, _UNWRITTEN), literal('"')])
        if least == 0 and most is None:
            return self._basic("string")
        return sequence([literal('"'), repeated(self._basic("character"), least, most), literal('"')])

    def _integer(self, schema: Mapping[str, Any], place: str, _depth: int) -> Expression:
        given = {name: schema[name] for name in _KEYS["integer"] if name in schema}
        for name, value in given.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
                raise BadInput(f"the JSON schema has {name} {value!r} at {place}; it must be a whole number")
        lows = [int(given[name]) + step for name, step in (("minimum", 0), ("exclusiveMinimum", 1)) if name in given]
        highs = [int(given[name]) - step for name, step in (("maximum", 0), ("exclusiveMaximum", 1)) if name in given]
        return between(max(lows) if lows else None, min(highs) if highs else None, place)

    def _basic(self, name: str) -> Expression:
        """A rule that is made when first used."""
        if name not in self.rules.bodies:
            self.rules.bodies[name] = literal("")  # it may refer to itself
            self.rules.add(name, _BASIC[name](self))
        return reference(name)

    def any_value(self) -> Expression:
        inner = reference("any")
        comma = sequence([literal(","), _SPACE])
        pair = sequence([self._basic("string"), literal(":"), _SPACE, inner])
        many = [repeated(sequence([one, repeated(sequence([comma, one]), 0, None)]), 0, 1) for one in (pair, inner)]
        words = [literal("true"), literal("false"), literal("null")]
        return either(
            [
                self._basic("string"),
                self._basic("number"),
                *words,
                sequence([literal("{"), many[0], literal("}")]),
                sequence([literal("["), many[1], literal("]")]),
            ]
        )


def _character(_reader: _Reader) -> Expression:
    plain = characters(_UNWRITTEN, negated=True)
    short = sequence([literal("\\"), characters([(ord(one), ord(one)) for one in '"\\/bfnrt'])])
    plain_high = sequence([characters([(0x30, 0x39), (0x41, 0x43), (0x45, 0x46)]), _HEX])
    high = either([plain_high, sequence([literal("D"), characters([(0x30, 0x37)])])])  # no half of a surrogate pair
    return either([plain, short, sequence([literal("\\u"), high, _HEX, _HEX])])


def _number(_reader: _Reader) -> Expression:
    fraction = sequence([literal("."), repeated(_DIGIT, 1, 15)])
    sign = repeated(characters([(0x2B, 0x2B), (0x2D, 0x2D)]), 0, 1)
    exponent = sequence([literal("e"), sign, repeated(_DIGIT, 1, 2)])
    return sequence([between(None, None, "#"), repeated(fraction, 0, 1), repeated(exponent, 0, 1)])


_BASIC: dict[str, Callable[[_Reader], Expression]] = {
    "any": _Reader.any_value,
    "string": lambda reader: sequence([literal('"'), repeated(reader._basic("character"), 0, None), literal('"')]),
    "character": _character,
    "number": _number,
}


def _alone(schema: Mapping[str, Any], name: str, said: set[str], place: str) -> Any:
    if beside := sorted(said - {name}):
        raise BadInput(f"the JSON schema has {', '.join(beside)} beside {name} at {place}, which cannot be enforced together")
    return schema[name]


def _schemas(given: Any, place: str, count: int | None) -> list[Any]:
    if not isinstance(given, list) or not given or (count is not None and len(given) != count):
        raise BadInput(f"the JSON schema needs a list of {count or 'one or more'} schemas at {place}")
    return given


def _constants(values: Any, kinds: Any, beside: set[str], place: str) -> Expression:
    if beside:
        raise BadInput(f"the JSON schema has {', '.join(sorted(beside))} beside {place}, which cannot be enforced together")
    if not isinstance(values, list) or not (fitting := _fitting(values, kinds)):
        raise BadInput(f"the JSON schema needs a list of values of its type at {place}")
    return either([literal(_json(value)) for value in fitting])


def _counts(schema: Mapping[str, Any], low: str, high: str, place: str) -> tuple[int, int | None]:
    for name in (low, high):
        value = schema.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise BadInput(f"the JSON schema has {name} {value!r:.60} at {place}; it must be a whole number from 0 on")
    least, most = schema.get(low, 0), schema.get(high)
    if most is not None and most < least:
        raise BadInput(f"the JSON schema has {low} {least} above {high} {most} at {place}")
    return least, most


def _steps(to: Any, place: str) -> list[str]:
    if not isinstance(to, str) or not (to == "#" or to.startswith("#/")):
        raise BadInput(f"the JSON schema refers at {place} to {to!r:.80}; only places in itself (#/…) are known")
    return [part.replace("~1", "/").replace("~0", "~") for part in to.split("/")[1:]]


def _fitting(values: Sequence[Any], kinds: Any) -> list[Any]:
    """Those of `values` that have a type out of `kinds`."""
    wanted = [kinds] if isinstance(kinds, str) else kinds
    return [value for value in values if any(kind in wanted for kind in _kinds_of(value))]


def _kinds_of(value: Any) -> tuple[str, ...]:
    if isinstance(value, bool) or value is None:
        return ("null",) if value is None else ("boolean",)
    if isinstance(value, int | float):
        return ("number", "integer") if value == int(value) else ("number",)
    return ("string",) if isinstance(value, str) else ("array",) if isinstance(value, list) else ("object",)


def _inside(text: str) -> str:
    return _json(text)[1:-1]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
