"""The table of operations, from the OpenAPI document: `python -m api.endpoints` writes it anew."""

from typing import Any

from api.documents import DOCS
from shared.settings import Settings

METHODS = ("get", "post", "put", "patch", "delete")
HEAD = """# Every operation

Made from the OpenAPI document ([/openapi.json](/openapi.json)), which has parameters, bodies and
answers. The scope is what a token needs where tokens are asked for. Every error is a
[problem](/docs/problems).
"""


def table(document: dict[str, Any]) -> str:
    """As Markdown, a part for each tag."""
    parts: dict[str, list[str]] = {}
    for path, item in document["paths"].items():
        for method in METHODS:
            if operation := item.get(method):
                tag = operation.get("tags", ["other"])[0]
                parts.setdefault(tag, []).append(_row(path, method, operation))
    head = "| call | scope | what it does |\n|---|---|---|\n"
    sections = [f"\n## {tag}\n\n{head}" + "\n".join(rows) + "\n" for tag, rows in parts.items()]
    return HEAD + "".join(sections)


def _row(path: str, method: str, operation: dict[str, Any]) -> str:
    scopes = [
        scope for one in operation.get("security", []) for found in one.values() for scope in found
    ]
    text = operation.get("description", operation.get("summary", "")).split("\n\n")[0]
    first = " ".join(text.split()).split(". ")[0].rstrip(".").replace("|", "\\|")
    return f"| `{method.upper()} {path}` | {scopes[-1] if scopes else 'none'} | {first} |"


def main() -> None:
    from api.main import create_app

    (DOCS / "endpoints.md").write_text(table(create_app(Settings()).openapi()))


if __name__ == "__main__":
    main()
