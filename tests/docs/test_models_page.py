"""docs/models.md says what the catalogue has."""

from tests.docs import models_page


def test_page_is_what_the_catalogue_says_now() -> None:
    written = models_page.PAGE.read_text(encoding="utf-8")
    assert written == models_page.page(), "run: python -m tests.docs.models_page"
