"""One HTML file with plotly figures that opens from disk: the library goes along, and nothing else may run or load.

The file's own policy names its two scripts by their hashes, so that no other one runs, whatever a token or a text says.
Figures lie in it as data. Each has buttons that save it as PNG and as SVG; the browser makes them, without a network.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ctkd_core.figures.html_file import attribute, html_file

if TYPE_CHECKING:
    import plotly.graph_objects as go

PRINTED_WIDTH = 690  # pixels: what a page of A4 or letter holds between its margins

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1180px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin-bottom:.2rem}h2{font-size:1.25rem;margin-top:2.6rem;border-bottom:1px solid var(--line)}
h3{font-size:1.05rem;margin:1.6rem 0 .3rem}.wide{overflow-x:auto}
nav a{color:inherit;margin-right:1.1em}figure{margin:.6rem 0}
.plot{background:#fff;color:#000;border-radius:6px;overflow:hidden}
.ctkd td pre{margin:0;max-width:30em}.ctkd svg{max-width:100%}
.advice{border:1px solid var(--line);border-radius:8px;padding:.4rem 1.1rem}
@page{margin:12mm}
@media print{
.ctkd{color-scheme:light;font-size:12px}body{margin:0;max-width:none;padding:0}
nav{display:none}.wide{overflow:visible}h2,h3{break-after:avoid}
figure,tr,.g,.advice,.plot{break-inside:avoid}.ctkd table{font-size:10.5px}.ctkd th,.ctkd td{padding:2px 5px}
.ctkd .c{font-size:10.5px}
.many table{table-layout:fixed;width:100%;font-size:8.5px!important}.ctkd .many th,.ctkd .many td{padding:1px 3px;
overflow-wrap:anywhere;white-space:normal!important}
.modebar-container{display:none!important}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}
}
"""

# Draws every figure, gives it its buttons, and fits all of them to paper while they are printed.
_DRAW = """
(() => {
  const places = [...document.querySelectorAll("div.plot")];
  const button = (format, title, icon) => ({
    name: format, title, icon,
    click: (place) => Plotly.downloadImage(place, {
      format, filename: place.dataset.name, scale: format === "png" ? 2 : 1,
    }),
  });
  for (const place of places) {
    const spec = JSON.parse(document.getElementById(place.dataset.spec).textContent);
    Plotly.newPlot(place, spec.data, spec.layout, {
      responsive: true, displaylogo: false, modeBarButtonsToRemove: ["toImage"],
      modeBarButtonsToAdd: [
        button("png", "Save as PNG", Plotly.Icons.camera), button("svg", "Save as SVG", Plotly.Icons.disk),
      ],
    });
  }
  const fit = (width) => {
    for (const place of places) Plotly.relayout(place, width ? { width } : { width: null, autosize: true });
  };
  addEventListener("beforeprint", () => fit(PRINTED));
  addEventListener("afterprint", () => fit(null));
})();
""".replace("PRINTED", str(PRINTED_WIDTH))


class Figures:
    """The figures of one file: each is put where its block stands, and all are drawn by one script at the end."""

    def __init__(self) -> None:
        self.count = 0

    def block(self, fig: go.Figure, alt: str, name: str = "") -> str:
        """The figure as HTML. `alt`: what it shows, in words; `name`: of the file that a reader saves it as."""
        self.count += 1
        key = f"figure-{self.count}"
        data = fig.to_json().replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
        height = int(fig.layout.height or 450)
        return (
            f'<figure><div class="plot" role="img" aria-label="{attribute(alt)}" style="min-height:{height}px" '
            f'data-spec="{key}" data-name="{attribute(name or key)}"></div>'
            f'<script type="application/json" id="{key}">{data}</script></figure>'
        )


def document(title: str, parts: Iterable[str], figures: Figures) -> str:
    """A whole file of these blocks, HTML made by this package; without figures there is no script in it."""
    return html_file(title, parts, _STYLE, [library(), _DRAW] if figures.count else [])


@cache
def library() -> str:
    """The source of plotly.js, from the installed package."""
    import plotly

    source = (Path(plotly.__file__).parent / "package_data" / "plotly.min.js").read_text(encoding="utf-8")
    if (
        "</script" in source.lower() or "<!--" in source
    ):  # it would end the element, or open another state of the parser
        source = source.replace("</script", "<\\/script").replace("<!--", "<\\!--")
    return source.replace("\r\n", "\n")  # as a browser reads it, or its hash would be another one
