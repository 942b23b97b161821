"""Entries of a search space as a line of text, as a form shows and reads them."""

import json
import re
from typing import Any

from gradnoise_service.study_text import MalformedStudyError, parse_yaml

RANGE = re.compile(
    r"(?P<low>\S+) to (?P<high>[^\s,]+)"
    r"(?P<log>,? log(arithmic)?)?(,? (in )?steps? (of )?(?P<step>[^\s,]+))?"
    r"(?P<integer>,? (whole|integer)( numbers)?)?"
)
RANGE_FIELDS = {"low", "high", "log", "step", "integer"}
SYNTAX = "0.9 · 0.003 to 0.3 · 0.003 to 0.3 log · 1 to 8 whole · one of 0.01, 0.3, 1"
"""Examples of what `entry_of` reads."""


def entry_of(text: str) -> Any:
    """Return the entry that a text describes, as a submission writes it; YAML where it is no words.

    >>> entry_of("0.003 to 0.3 log"), entry_of("one of 0.01, 0.3"), entry_of("0.9")
    ({'low': 0.003, 'high': 0.3, 'log': True}, {'choices': [0.01, 0.3]}, 0.9)
    >>> entry_of("0.3 to 0.9, in steps of 0.1"), entry_of("{choices: [cosine]}"), entry_of("step")
    ({'low': 0.3, 'high': 0.9, 'step': 0.1}, {'choices': ['cosine']}, 'step')
    """
    text = text.strip()
    found = RANGE.fullmatch(text)
    if found is not None:
        entry = {name: plain_value(found[name]) for name in ("low", "high")}
        entry |= {"log": True} if found["log"] else {}
        entry |= {"step": plain_value(found["step"])} if found["step"] else {}
        return entry | ({"integer": True} if found["integer"] else {})
    if text.startswith("one of "):
        listed = plain_value(f"[{text.removeprefix('one of ')}]")
        return {"choices": listed} if isinstance(listed, list) else text
    return plain_value(text)


def text_of(entry: object) -> str:
    """Return the text of an entry; `entry_of` reads it back.

    >>> text_of({"low": 1, "high": 8, "integer": True}), text_of({"choices": ["a", None]})
    ('1 to 8, whole numbers', 'one of "a", null')
    >>> text_of(0.9), text_of("cosine"), text_of([3, 3]), text_of({"low": 1})
    ('0.9', 'cosine', '[3, 3]', '{"low": 1}')
    """
    if isinstance(entry, str) and entry_of(entry) == entry:
        return entry
    words = _words(entry) if isinstance(entry, dict) else ""
    return words if words and entry_of(words) == entry else json.dumps(entry, ensure_ascii=False)


def plain_value(text: str) -> Any:
    """Return the value of a text as YAML; the text itself where it is not YAML.

    >>> plain_value("1e-3"), plain_value("true"), plain_value("[1, 2"), plain_value("a: b")
    (0.001, True, '[1, 2', 'a: b')
    """
    try:
        return parse_yaml(f"value: {text}")["value"]
    except MalformedStudyError:
        return text


def _words(entry: dict[str, Any]) -> str:
    if set(entry) == {"choices"} and isinstance(entry["choices"], list):
        return "one of " + ", ".join(json.dumps(c, ensure_ascii=False) for c in entry["choices"])
    if not {"low", "high"} <= set(entry) <= RANGE_FIELDS:
        return ""
    return (
        f"{entry['low']} to {entry['high']}"
        f"{', logarithmic' if entry.get('log') else ''}"
        f"{', in steps of ' + str(entry['step']) if 'step' in entry else ''}"
        f"{', whole numbers' if entry.get('integer') else ''}"
    )
