"""Build HTML and SVG in which text from a file cannot become markup: all text is escaped.

Rules:

* Text becomes markup in :func:`render_element` alone. There every character with a meaning to a browser is escaped,
  in content and in attributes.
* Characters that are invisible or reverse the direction of a line (control characters, directional overrides) are
  written as their code points.
* Names of elements and attributes come from this program, never from a file.
* A page has one style sheet inside and fetches nothing: its own policy (:func:`render_head`) forbids it to the browser.
"""

import base64
import hashlib
from collections.abc import Iterable
from html import escape
from typing import Final

from privacy.invisible import escape_invisible

_VOID: Final = {"meta", "br", "img"}


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Content = str | Iterable["Content"] | None
Attribute = str | int | float | bool | None


def render_element(name: str, /, *content: Content, **attributes: Attribute) -> Markup:
    """Render an element with its attributes and its content.

    The attributes ``class`` and ``aria-label`` are written ``class_`` and ``aria_label``. An attribute that is None
    or False is left out.
    """
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{_escape_text(str(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join_content(*content)}</{name}>")


def join_content(*content: Content) -> Markup:
    """Join several pieces of content."""
    return Markup("".join(_render_content(each) for each in content))


def render_head(title: str, style_sheet: str, *, has_images: bool = False) -> Markup:
    """Render the head of a page that runs no script and fetches nothing.

    Args:
        title: of the page.
        style_sheet: the page's only one, which this program ships; its digest is in the page's policy.
        has_images: whether the page has images inside, as ``data:``.
    """
    digest = base64.b64encode(hashlib.sha256(style_sheet.encode("utf-8")).digest()).decode("ascii")
    images = " img-src data:;" if has_images else ""
    policy = f"default-src 'none'; style-src 'sha256-{digest}';{images} base-uri 'none'; form-action 'none'"
    return render_element(
        "head",
        render_element("meta", charset="utf-8"),
        render_element("meta", http_equiv="Content-Security-Policy", content=policy),
        render_element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        render_element("meta", name="color-scheme", content="light dark"),
        render_element("meta", name="referrer", content="no-referrer"),
        render_element("title", title),
        render_element("style", Markup(style_sheet)),
    )


def _render_content(content: Content) -> str:
    match content:
        case None:
            return ""
        case Markup():
            return content
        case str():
            return _escape_text(content)
        case _:
            return "".join(_render_content(each) for each in content)


def _escape_text(text: str) -> str:
    return escape(escape_invisible(text), quote=True)
