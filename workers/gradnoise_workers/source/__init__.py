"""Files of a user's own: which code belongs to one, how it is imported, what it declares.

A file is read once, in a process of its own, for the command line. A study then stores the texts,
and its workers import these texts, not the files.
"""

from gradnoise_workers.source.faults import SourceError
from gradnoise_workers.source.opening import opened

__all__ = ["SourceError", "opened"]
