"""Reports as self-contained pages: style and plots inside, no scripts, nothing fetched; light or dark as the reader's system is."""

from __future__ import annotations

from importlib.resources import files

from penstock.stages.evaluate.markup import Markup, tag

# Nothing may load or run, even if a text should ever slip through unescaped.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def document(title: str, *sections: str, style: str = "") -> str:
    """The whole HTML document; `style` is added to that of all pages (page.css)."""
    head = tag(
        "head",
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
        tag("title", title),
        tag("style", Markup(files(__package__).joinpath("page.css").read_text("utf-8") + style)),
    )
    return "<!doctype html>\n" + tag("html", head, tag("body", tag("main", *sections)), lang="en") + "\n"


def tile(title: str, value: str, unit: str, note: str) -> Markup:
    """One figure, large."""
    number = tag("div", value, " " if unit else "", tag("small", unit), class_="value")
    return tag("div", tag("div", title, class_="name"), number, tag("div", note, class_="range"), class_="tile")


def figure(title: str, drawn: str, caption: str) -> Markup:
    return tag("figure", tag("h3", title), drawn, tag("figcaption", caption))
