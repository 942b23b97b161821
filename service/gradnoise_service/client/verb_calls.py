"""The methods of the client that act on a study; each may be repeated without effect."""

from gradnoise_service.client.study_info import StudyInfo
from gradnoise_service.client.transport import Transport


class VerbCalls:
    """Base class of `Client`.

    Every method raises ApiError with status 409 if the state of the study does not allow the verb.
    """

    _transport: Transport

    def pause(self, study_id: int) -> StudyInfo:
        """Pause a study: its trials are checkpointed and its devices freed."""
        return self._act(study_id, "pause")

    def resume(self, study_id: int) -> StudyInfo:
        """Queue a paused study again."""
        return self._act(study_id, "resume")

    def stop(self, study_id: int, *, confirm: bool = False) -> StudyInfo:
        """Finish what has started of a study and report on that.

        With `confirm` only the search is stopped, and its settings are confirmed.
        """
        return self._act(study_id, "stop", confirm=confirm)

    def cancel(self, study_id: int) -> StudyInfo:
        """Cancel a study; its measurements are kept."""
        return self._act(study_id, "cancel")

    def retry(self, study_id: int, *, accept_changed_code: bool = False) -> StudyInfo:
        """Queue a failed or complete study again; the failed trials of its last phase run again.

        With `accept_changed_code` they may be run by other code.
        """
        return self._act(study_id, "retry", accept_changed_code=accept_changed_code)

    def prioritize(self, study_id: int, priority: int) -> StudyInfo:
        """Change the priority of a study that is queued or paused, between -100 and 100."""
        return self._act(study_id, "priority", priority=priority)

    def _act(self, study_id: int, verb: str, **body: object) -> StudyInfo:
        path = f"/v1/studies/{study_id}/{verb}"
        response = self._transport.request("POST", path, json=body, may_repeat=True)
        return StudyInfo.model_validate_json(response.content)
