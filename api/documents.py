"""The documents beside the page: Markdown files of `api/docs`, as HTML in the page's own shell."""

import re
from functools import lru_cache
from html import escape
from pathlib import Path

from markdown_it import MarkdownIt

from shared.errors import NotFound

DOCS = Path(__file__).parent / "docs"
SHELL = Path(__file__).parent / "static" / "index.html"
TITLES = {
    "numbers": "What the numbers mean",
    "endpoints": "Every operation",
    "problems": "Every kind of error",
}
"""File -> what it is called in the list, in its order."""
_MAIN = re.compile(r"<main.*</main>", re.DOTALL)
_SCRIPTS = re.compile(r"<script.*?</script>\n?|<link rel=\"modulepreload\".*?>\n?")
_HEADING = re.compile(r"<h([23])>(.*?)</h\1>")
_SECTION = re.compile(r"^## (\S+)\n(.*?)(?=^## |\Z)", re.DOTALL | re.MULTILINE)


def index() -> str:
    """The list of documents, as a page."""
    items = [f'<li><a href="/docs/{name}">{escape(t)}</a></li>' for name, t in TITLES.items()]
    items += ['<li><a href="/openapi.json">The OpenAPI document</a></li>']
    return _page("Documents", f"<h1>Documents</h1><ul>{''.join(items)}</ul>")


def page(name: str) -> str:
    if name not in TITLES:
        raise NotFound(f"There is no document {name[:80]!r}: there are {', '.join(TITLES)}")
    return _page(TITLES[name], _html((DOCS / f"{name}.md").read_text()))


@lru_cache(1)
def problems() -> dict[str, str]:
    """Code of an error -> what it means, in Markdown."""
    return dict(_SECTION.findall((DOCS / "problems.md").read_text()))


def problem(code: str) -> str:
    """What a code means, as a page."""
    text = f"# {code}\n\n{explanation(code)}\n[Every kind of error](/docs/problems)\n"
    return _page(code, _html(text))


def explanation(code: str) -> str:
    try:
        return problems()[code].strip()
    except KeyError:
        known = ", ".join(problems())
        raise NotFound(f"There is no kind of error {code[:80]!r}: there are {known}") from None


def _html(text: str) -> str:
    """Every heading can be linked to."""
    html = MarkdownIt("commonmark").enable("table").render(text)
    html = html.replace("<table>", '<div class="scroll"><table>').replace(
        "</table>", "</table></div>"
    )
    return _HEADING.sub(lambda m: f'<h{m[1]} id="{_anchor(m[2])}">{m[2]}</h{m[1]}>', html)


def _anchor(heading: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"<.*?>", "", heading).lower()).strip("-")


def _page(title: str, content: str) -> str:
    shell = _SCRIPTS.sub("", SHELL.read_text())
    shell = shell.replace("<title>Hubel</title>", f"<title>{escape(title)} - Hubel</title>")
    main = f'<main id="main" tabindex="-1" class="document">{content}</main>'
    return _MAIN.sub(lambda _: main, shell)
