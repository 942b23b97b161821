import hashlib
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gradnoise.workloads.paper.downloads import DataUnavailableError
from gradnoise.workloads.paper.memn2n import data

pytest.importorskip("pooch")

Serve = Callable[[str, bytes], str]

STORIES = """1 Mary moved to the bathroom.
2 John went to the hallway.
3 Where is Mary? \tbathroom\t1
4 What is Mary carrying?\tmilk,football\t1 2
1 Sandra's cat sleeps.
2 Is it here?\tno\t1
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of data in which every task is the same three small files, with checksums to match;
    without a cache and without a network.
    """
    content = STORIES.encode()
    monkeypatch.setattr(data, "SHA256", (hashlib.sha256(3 * content).hexdigest(),) * data.N_TASKS)
    monkeypatch.setattr(data, "MIRRORS", ("http://127.0.0.1:9/tasks.tar.gz",))
    monkeypatch.setenv("GRADNOISE_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    data_folder = tmp_path / "babi" / "en-valid"
    data_folder.mkdir(parents=True)
    for task in range(1, data.N_TASKS + 1):
        for name in data.file_names(task):
            (data_folder / name).write_bytes(content)
    data.encoded.cache_clear()
    yield data_folder
    data.encoded.cache_clear()


def test_a_story_starts_at_line_number_1_and_contains_no_questions() -> None:
    first, second, third = data.questions(STORIES)
    assert first.story == (
        ("mary", "moved", "to", "the", "bathroom"),
        ("john", "went", "to", "the", "hallway"),
    )
    assert first.words == ("where", "is", "mary")
    assert first.answer == "bathroom"
    assert second.story == first.story
    assert second.answer == "milk,football"
    assert (third.story, third.answer) == ((("sandra's", "cat", "sleeps"),), "no")


def test_words_are_numbered_and_the_latest_sentence_comes_first(folder: Path) -> None:
    task = data.encoded(1, 50)
    none = len(task.vocabulary)
    stories, questions, answers = task.splits.train
    assert stories.shape == (3, 2, 5)

    def words(row: list[int]) -> str:
        return " ".join(task.vocabulary[i] for i in row if i != none)

    assert [words(sentence) for sentence in stories[0].tolist()] == [
        "john went to the hallway",
        "mary moved to the bathroom",
    ]
    assert [words(sentence) for sentence in stories[2].tolist()] == ["sandra's cat sleeps", ""]
    assert [words(question) for question in questions.tolist()] == [
        "where is mary",
        "what is mary carrying",
        "is it here",
    ]
    assert [task.vocabulary[i] for i in answers.tolist()] == ["bathroom", "milk,football", "no"]
    assert task.vocabulary == tuple(sorted(set(task.vocabulary)))


def test_a_short_memory_keeps_the_latest_sentences(folder: Path) -> None:
    task = data.encoded(1, 1)
    assert task.splits.train[0].shape == (3, 1, 5)
    assert "moved" not in task.vocabulary


def test_all_tasks_together_are_concatenated(folder: Path) -> None:
    assert len(data.encoded(0, 50).splits.validation[0]) == 3 * data.N_TASKS


def test_the_error_for_a_corrupt_file_names_both_checksums(folder: Path) -> None:
    (folder / "qa7_valid.txt").write_text(STORIES + "1 Too much.\n")
    with pytest.raises(
        DataUnavailableError,
        match=r"qa7_train\.txt, qa7_valid\.txt, qa7_test\.txt in .* have a wrong content",
    ) as caught:
        data.encoded(7, 50)
    assert data.SHA256[6] in str(caught.value)
    data.encoded(6, 50)


def test_without_data_and_network_the_error_names_the_attempts_and_a_remedy(
    folder: Path,
) -> None:
    (folder / "qa1_train.txt").unlink()
    with pytest.raises(DataUnavailableError) as caught:
        data.encoded(1, 50)
    for fact in (
        str(folder),
        "gradnoise/babi",
        "http://127.0.0.1:9/tasks.tar.gz",
        "GRADNOISE_DATA",
        "en-valid",
    ):
        assert fact in str(caught.value)


def test_a_download_is_unpacked_checked_and_kept(
    folder: Path, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first mirror is unreachable, the second serves the file. A second call needs no mirror."""
    archive = tmp_path / "tasks.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, arcname=data.FOLDER)
    monkeypatch.delenv("GRADNOISE_DATA")
    monkeypatch.setattr(
        data,
        "MIRRORS",
        (*data.MIRRORS, serve("tasks.tar.gz", archive.read_bytes()) + "tasks.tar.gz"),
    )
    assert data.texts(3)["test"] == STORIES
    monkeypatch.setattr(data, "MIRRORS", data.MIRRORS[:1])
    assert data.texts(20)["train"] == STORIES


def test_the_real_tasks_have_the_published_splits() -> None:
    """Published facts of task 1: 900, 100 and 1,000 questions, 19 words, and six answers."""
    if not Path(os.environ.get("GRADNOISE_DATA", ""), "babi", "en-valid").is_dir():
        pytest.skip(
            "needs a folder babi/en-valid in $GRADNOISE_DATA, which is "
            f"{os.environ.get('GRADNOISE_DATA')!r}"
        )
    task = data.encoded(1, 50)
    assert [
        len(part[0]) for part in (task.splits.train, task.splits.validation, task.splits.test)
    ] == [900, 100, 1_000]
    assert task.n_sentences == 10
    answers = {task.vocabulary[i] for i in task.splits.train[2].tolist()}
    assert answers == {"bathroom", "bedroom", "garden", "hallway", "kitchen", "office"}
    assert len(task.vocabulary) == 19
    for task in range(1, data.N_TASKS + 1):
        assert len(data.texts(task)["train"]) > 0
