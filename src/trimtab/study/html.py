"""HTML that cannot be injected into: whatever is not already Html is escaped on its way into an element."""

import html
import re
from collections.abc import Iterable, Sequence

_INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class Html(str):
    """A text that is HTML already. Only `element` and `join` make one, and a template that is our own."""

    __slots__ = ()


def element(tag: str, *children: object, **attributes: object) -> Html:
    """`<tag attribute="…">children</tag>`. A trailing underscore of an attribute's name is dropped (class_),
    one inside becomes a dash (stroke_width); None leaves the attribute out."""
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(visible(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Html(f"<{tag}{written}>{join(children)}</{tag}>")


def join(children: Iterable[object]) -> Html:
    """Children one after the other, each escaped where it is not Html."""
    return Html("".join(child if isinstance(child, Html) else html.escape(visible(child)) for child in children))


def visible(value: object) -> str:
    """As text. Control characters, lone surrogates and marks that reverse the reading direction of what
    follows become the replacement mark."""
    return _INVISIBLE.sub("\ufffd", str(value))


def facts_list(facts: Sequence[tuple[str, str]]) -> Html:
    """Names and values, one pair a line."""
    return element(
        "dl", *(join((element("dt", name), element("dd", value))) for name, value in facts), class_="list"
    )


def table(
    heads: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    numbers: Sequence[int] = (),
    stacked: bool = False,
    styles: Sequence[str] = (),
    blocks: Sequence[int] = (),
    name: str = "",
) -> Html:
    """A table; columns in `numbers` are set right. `stacked`: on a phone each row becomes a small list, where
    the columns in `blocks` get a line of their own."""

    def cell(tag: str, index: int, value: object) -> Html:
        classes = [word for word, where in (("n", numbers), ("block", blocks)) if index in where]
        label = heads[index] if tag == "td" and stacked else None
        return element(tag, value, class_=" ".join(classes) or None, data_label=label)

    head = element("tr", *(cell("th", index, word) for index, word in enumerate(heads)))
    body = [
        element(
            "tr",
            *(cell("td", index, value) for index, value in enumerate(row)),
            class_=styles[at] if styles else None,
        )
        for at, row in enumerate(rows)
    ]
    classes = " ".join(word for word in (name, "stacked" if stacked else "") if word)
    whole = element("table", element("thead", head), element("tbody", *body), class_=classes or None)
    return element("div", whole, class_="wide")
