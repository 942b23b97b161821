"""Text from trials, made safe for terminals and databases."""

REPLACED = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)], "�") | dict.fromkeys(
    range(0xD800, 0xE000), "�"
)
del REPLACED[ord("\n")], REPLACED[ord("\t")]


def plain(text: str) -> str:
    """Return a text of equal length in which control characters and surrogates are replaced.

    No escape sequence, which could write to other lines of a terminal or change its state, is
    left. Line ends and tabs stay.

    >>> plain("a\\x1b[2Jb\\n")
    'a�[2Jb\\n'
    """
    return text.translate(REPLACED)
