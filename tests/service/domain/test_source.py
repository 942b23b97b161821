import hashlib
import json
from dataclasses import replace

import pytest

from gradnoise_service.domain.errors import InvalidSpecError
from gradnoise_service.domain.source import MAX_SOURCE_BYTES, Source, check_size

SOURCE = Source(name="b.py", files={"b.py": "y", "a.py": "x"}, folder="/tmp", announced={})


def test_the_hash_is_over_name_paths_and_texts() -> None:
    text = json.dumps(["b.py", [["a.py", "x"], ["b.py", "y"]]], separators=(",", ":"))
    assert SOURCE.hash == hashlib.sha256(text.encode()).hexdigest()
    assert replace(SOURCE, folder="/home", announced={"workloads": []}).hash == SOURCE.hash
    assert replace(SOURCE, name="a.py").hash != SOURCE.hash


def test_the_size_is_limited_in_bytes() -> None:
    check_size({"a.py": "x" * (MAX_SOURCE_BYTES - 2), "b.py": "é"})
    with pytest.raises(InvalidSpecError, match="the files have 500,001 bytes together"):
        check_size({"a.py": "x" * (MAX_SOURCE_BYTES - 2), "b.py": "xé"})
