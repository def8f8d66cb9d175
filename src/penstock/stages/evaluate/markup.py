"""HTML and SVG from Python, escaped by default: only what `tag` and `style` made is taken as markup."""

from __future__ import annotations

import html
from collections.abc import Iterable


class Markup(str):
    """Text that is already markup."""

    __slots__ = ()


def tag(name: str, *children: str | Iterable[str], **attributes: object) -> Markup:
    """`tag("p", text, class_="note")`. Plain strings are escaped; in attribute names `_` stands for `-`, a last one is dropped."""
    shown = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(_plain(value))}"' for key, value in attributes.items() if value is not None
    )
    inside = "".join(_escaped(part) for child in children for part in ([child] if isinstance(child, str) else child))
    return Markup(f"<{name}{shown}>{inside}</{name}>")


def joined(parts: Iterable[str]) -> Markup:
    return Markup("".join(_escaped(part) for part in parts))


def _escaped(part: str) -> str:
    return part if isinstance(part, Markup) else html.escape(part, quote=False)


def _plain(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
