"""The bAbI tasks of Weston et al. 2015, arXiv:1502.05698 (version 1.2, in English, CC BY 3.0).

The splits of each task are the official ones (`en-valid`): 900 questions for training, 100 for
validation, 1,000 for testing. The files are read from `$GRADNOISE_DATA/babi/en-valid`, from the
user's cache, or downloaded. SHA256 holds their checksums.
"""

import functools
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from gradnoise.workloads.base import Batch, Splits
from gradnoise.workloads.paper.downloads import DataUnavailableError, data_folder, fetch

N_TASKS = 20
PARTS = ("train", "valid", "test")
MIRRORS = (
    "http://www.thespermwhale.com/jaseweston/babi/tasks_1-20_v1-2.tar.gz",
    "https://s3.amazonaws.com/text-datasets/babi_tasks_1-20_v1-2.tar.gz",
)
FOLDER = "tasks_1-20_v1-2/en-valid"
SHA256 = (  # per task, of its three files in the order of PARTS, concatenated
    "b3ea9b623954300d2073db9cd82078c6f99086a7724e7bebe00a62a709b0240d",
    "3d342beddc38c4dffeffeafbf7e111c165914e0c3699735ca991408b798573f0",
    "724893e117d8d9f11392c39f956ef8323c21211c72afd169e615bb1b1b415b9c",
    "41f92e89a84a72798442daab40e5823ac534ed8fee1e192eafeba50ee83f2329",
    "aa7c44def4730ca80c97e915b08a4e6a96b0f040f29853fe512e9abff5d027fe",
    "c7745c94ee05cf5f431afd343f70016ddfb40f145d47abff5ae6068ba890dfe1",
    "3ca7e0e2237bdab8d1006d11b6721c90162008e002ab278af050bf748a391b1f",
    "b1b9a3c30fb9f2215abacb15cd696ff6f7962d2a84e1bb913404139dc71b7d72",
    "ff127da690e75e24502df00a1e72192e2cc8a98addd95a5b4d1ed098eeb5482c",
    "08ade9ba13f49849c809b08bf13880ac3d2f5a3f161ddb0c1792a8045d8e73c4",
    "1e26b141ab154d9f83d8321bf91902396bf25ef9cfcf5107122cca7b7e30c81b",
    "2b69dd51c6f9fbeef76c1d2b58eed90e413db42293b804f3d4294714b02fde6d",
    "8edda54323a171d048692fe7b4f603800793fbb9b746d9b3ff2e727ab3797c5b",
    "08575bb1d198f19aab1b23b3ca045de3eafd444c3b5044126967b67db676df43",
    "51f901245ea921395afa5c75dbf8114b3d99b0de3196ada1cdac323756a6f33a",
    "225fb3f1a291676bcc4d960c932fde9605e2c2698f01c21a8d3f3511975c5e92",
    "46ac9eaeeb5339b2d6948118ebd380e3b8f8dfba89fcef5e1a8a6cbe24268094",
    "7f54714022d3f3cc65dcda599082493dbc89bfc782978d25a4d8d40cea35721e",
    "669fa2bf8ec3319d68d22f617697860fbe7b3048df7407363ca7a82d8c94564b",
    "d68fa29015a1e19fc3b858d4d90e41acd0c318713039889b792ee13fe88c6d76",
)


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question about a story.

    Args:
        story: The words of each sentence before the question, the oldest sentence first.
        words: The question.
        answer: A single word of the vocabulary, even if it lists several.
    """

    story: tuple[tuple[str, ...], ...]
    words: tuple[str, ...]
    answer: str


@dataclass(frozen=True, kw_only=True)
class EncodedTask:
    """The questions of a task as tensors, with the vocabulary.

    An example is (story, question, answer): the story int64 [n_sentences, n_words], the latest
    sentence first; the question int64 [n_words]; the answer int64. The number i means word i of the
    vocabulary, len(vocabulary) means that there is no word.
    """

    splits: Splits
    vocabulary: tuple[str, ...]
    n_sentences: int
    n_words: int


@functools.lru_cache(maxsize=4)
def encoded(task: int, n_sentences: int) -> EncodedTask:
    """Return a task with the latest n_sentences of each story; all tasks together if task is 0.

    Raises:
        DataUnavailableError: If the data are missing and cannot be downloaded, or their checksum is
            wrong.
    """
    tasks = range(1, N_TASKS + 1) if task == 0 else (task,)
    parts = {
        part: [question for number in tasks for question in questions(texts(number)[part])]
        for part in PARTS
    }
    everything = [question for part in parts.values() for question in part]
    sentences = [
        sentence
        for question in everything
        for sentence in (*question.story[-n_sentences:], question.words)
    ]
    vocabulary = tuple(
        sorted(
            {word for sentence in sentences for word in sentence}
            | {question.answer for question in everything}
        )
    )
    number_of = {word: i for i, word in enumerate(vocabulary)}
    longest = max(len(question.story) for question in everything)
    n_words, n_sentences = max(map(len, sentences)), min(n_sentences, longest)

    def row(words: Sequence[str]) -> list[int]:
        return [*(number_of[word] for word in words), *[len(vocabulary)] * (n_words - len(words))]

    def batch(part: Sequence[Question]) -> Batch:
        latest_first = [question.story[::-1][:n_sentences] for question in part]
        stories = [
            [row(story[i] if i < len(story) else ()) for i in range(n_sentences)]
            for story in latest_first
        ]
        rows = [row(question.words) for question in part]
        answers = [number_of[question.answer] for question in part]
        return torch.tensor(stories), torch.tensor(rows), torch.tensor(answers)

    train, validation, test = (batch(parts[part]) for part in PARTS)
    splits = Splits(train=train, validation=validation, test=test)
    return EncodedTask(
        splits=splits, vocabulary=vocabulary, n_sentences=n_sentences, n_words=n_words
    )


def questions(text: str) -> Iterator[Question]:
    """Yield the questions of a file.

    Lines are numbered, from 1 in each story. A question's line has the answer after a tab.

    >>> lines = ["1 Mary moved to the bathroom.", "2 Where is Mary? \\tbathroom\\t1"]
    >>> [question] = questions("\\n".join(lines))
    >>> question.story, question.words, question.answer
    ((('mary', 'moved', 'to', 'the', 'bathroom'),), ('where', 'is', 'mary'), 'bathroom')
    """
    story: list[tuple[str, ...]] = []
    for line in text.splitlines():
        number, rest = line.split(" ", 1)
        if number == "1":
            story = []
        sentence, *answer = rest.split("\t")
        words = tuple(re.findall(r"[a-z0-9']+", sentence.lower()))
        if answer:
            yield Question(story=tuple(story), words=words, answer=answer[0].lower())
        else:
            story.append(words)


def texts(task: int) -> dict[str, str]:
    """Return the texts of a task's files by part, after a check of their checksum.

    Raises:
        DataUnavailableError: If the files are missing and cannot be downloaded, or their checksum
            is wrong.
    """
    folder = data_folder("babi", "en-valid")
    if folder and all((folder / name).exists() for name in file_names(task)):
        return _checked(task, folder)
    all_names = [name for number in range(1, N_TASKS + 1) for name in file_names(number)]
    cache = fetch(
        "bAbI",
        MIRRORS,
        looked_in=folder,
        into="babi",
        file="tasks.tar.gz",
        members=[f"{FOLDER}/{name}" for name in all_names],
        remedy="put the folder en-valid of its archive into a folder babi/",
    )
    return _checked(task, cache / FOLDER)


def file_names(task: int) -> list[str]:
    """Return the names of a task's files, in the order of PARTS."""
    return [f"qa{task}_{part}.txt" for part in PARTS]


def _checked(task: int, folder: Path) -> dict[str, str]:
    contents = [(folder / name).read_bytes() for name in file_names(task)]
    found = hashlib.sha256(b"".join(contents)).hexdigest()
    if found != SHA256[task - 1]:
        raise DataUnavailableError(
            f"{', '.join(file_names(task))} in {folder} have a wrong content: their SHA-256 is "
            f"{found}, not {SHA256[task - 1]}. Replace or delete them."
        )
    return {part: content.decode("ascii") for part, content in zip(PARTS, contents, strict=True)}
