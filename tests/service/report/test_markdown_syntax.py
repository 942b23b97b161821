"""Text keeps its meaning inside Markdown."""

from gradnoise_service.report.markdown_syntax import escaped, fenced


def test_markup_in_text_is_escaped() -> None:
    assert escaped("[x](http://y) <b> `c`\n|") == r"\[x\](http://y) \<b\> \`c\` \|"


def test_a_fence_is_longer_than_any_in_its_text() -> None:
    assert fenced("a ```` b", "yaml") == ["`````yaml", "a ```` b", "`````"]
