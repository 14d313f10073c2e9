"""The documents say what there is: every operation, every kind of error."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest

import api.main  # noqa: F401 - every kind of error is defined
from api import documents, endpoints
from api.figures import FIGURES
from api.main import create_app
from shared.errors import HubelError, NotFound
from shared.settings import Settings

FROM_FASTAPI = {"method-not-allowed"}


def kinds(of: type[HubelError]) -> Iterator[type[HubelError]]:
    yield of
    for kind in of.__subclasses__():
        yield from kinds(kind)


def test_each_kind_of_error_is_explained_with_its_status():
    found = {kind.code: kind.status for kind in kinds(HubelError)}
    assert set(documents.problems()) == set(found) | FROM_FASTAPI
    for code, status in found.items():
        assert documents.explanation(code).startswith(f"{status}. "), code


def test_a_kind_of_error_that_there_is_not_names_those_that_there_are():
    with pytest.raises(NotFound, match="conflict, "):
        documents.explanation("nonsense")


def test_the_table_of_operations_is_that_of_the_service():
    """Else `python -m api.endpoints` writes it anew."""
    made = endpoints.table(create_app(Settings()).openapi())
    assert (documents.DOCS / "endpoints.md").read_text() == made
    [row] = [line for line in made.splitlines() if "/figures/{name}`" in line]
    assert [name for name in FIGURES if f" {name}" not in row] == []


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.ids: set[str] = set()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self.targets += [found["href"] or ""] if "href" in found else []
        self.ids |= {found["id"] or ""} if "id" in found else set()


@pytest.mark.parametrize("name", documents.TITLES)
def test_a_document_is_a_page_in_the_shell_without_scripts(name):
    html = documents.page(name)
    read = Links()
    read.feed(html)
    assert read.tags.count("main") == read.tags.count("h1") == 1
    assert "script" not in read.tags
    assert f"<title>{documents.TITLES[name]} - Hubel</title>" in html
    assert {"/", "/docs", "/static/style.css"} <= set(read.targets)
    outside = [target for target in read.targets if re.match(r"https?:|//", target)]
    assert outside == []


def test_every_kind_of_error_can_be_linked_to():
    read = Links()
    read.feed(documents.page("problems"))
    assert set(documents.problems()) <= read.ids


def test_a_problems_code_is_shown_as_text():
    with pytest.raises(NotFound):
        documents.problem("<script>")
    assert "<script" not in documents.problem("conflict")
