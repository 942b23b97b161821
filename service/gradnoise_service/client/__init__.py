"""The REST interface from Python.

with Client("http://127.0.0.1:8000") as client:
    study = client.submit_preset("demo")
    for progress in client.watch(study.id):
        print(progress.state, progress.seconds_left)
    print(client.report(study.id, "markdown"))
"""

from gradnoise_service.client.changes import changed
from gradnoise_service.client.client import Client
from gradnoise_service.client.errors import ApiError, ClientError, UnreachableError
from gradnoise_service.client.report_formats import FIGURES
from gradnoise_service.client.study_files import read_studies, read_study
from gradnoise_service.client.study_info import StudyInfo

__all__ = [
    "FIGURES",
    "ApiError",
    "Client",
    "ClientError",
    "StudyInfo",
    "UnreachableError",
    "changed",
    "read_studies",
    "read_study",
]
