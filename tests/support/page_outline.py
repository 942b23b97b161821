"""Reading a page: its elements are closed in order, and it fits the Content-Security-Policy."""

from html.parser import HTMLParser

from starlette.testclient import TestClient

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
VOID = {"meta", "link", "img", "input", "br"}


class Outline(HTMLParser):
    """Checks that elements are closed in order; collects ids, links, attributes and files."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.attributes: list[str] = []
        self.loaded: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.attributes += values
        self.ids += [values["id"] or ""] if "id" in values else []
        self.links += [values["href"] or ""] if tag == "a" else []
        if tag in ("script", "img", "link"):
            self.loaded.append(values.get("src") or values.get("href") or "inline")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(client: TestClient, path: str) -> Outline:
    answer = client.get(path, headers=HTML)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    outline = Outline(answer.text)
    assert len(set(outline.ids)) == len(outline.ids)
    assert all(path.startswith("/static/") for path in outline.loaded)
    assert not [name for name in outline.attributes if name == "style" or name.startswith("on")], (
        "the policy forbids inline styles and scripts"
    )
    return outline
