"""A sentence whose terms of art explain themselves: under the mouse, and when the keyboard's focus is on them."""

from __future__ import annotations

from html import escape

from ctkd_core.markup.glossary import found
from ctkd_core.markup.visible import one_line

# The meaning lies inside the button, so that it is read out with it and no ids can clash; hidden until it is asked for.
STYLE = """
.terms{position:relative;line-height:1.5}
.terms button.term{all:unset;cursor:help;text-decoration:underline dotted;text-underline-offset:3px}
.terms button.term:focus-visible{outline:2px solid currentColor;outline-offset:2px;border-radius:3px}
.terms .meaning{visibility:hidden;position:absolute;left:0;top:100%;z-index:20;box-sizing:border-box;width:max-content;
max-width:min(100%,34em);padding:7px 10px;margin-top:2px;border-radius:8px;border:1px solid #8886;font-size:13px;
font-weight:400;line-height:1.45;text-align:left;white-space:normal;box-shadow:0 4px 14px #0003;
background:Canvas;color:CanvasText}
.terms button.term:hover .meaning,.terms button.term:focus .meaning{visibility:visible}
""".strip()


def marked(text: str) -> str:
    """`text` escaped, on one line, each term at its first place as a button that shows its meaning.

    The text is untrusted; a page needs STYLE once for it to look like one.
    """
    shown = one_line(text)
    parts, at = [], 0
    for start, end, entry in found(shown):
        head = ", ".join(entry.names)
        parts.append(escape(shown[at:start]))
        parts.append(
            f'<button type="button" class="term">{escape(shown[start:end])}'
            f'<span class="meaning"><b>{escape(head)}</b>: {escape(entry.plain)}.</span></button>'
        )
        at = end
    return f'<span class="terms">{"".join(parts)}{escape(shown[at:])}</span>'
