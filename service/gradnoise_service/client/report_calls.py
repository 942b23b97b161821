"""The methods of the client on reports of studies and suites."""

import json
from typing import Any, Literal
from urllib.parse import quote

from gradnoise_service.client.errors import ApiError
from gradnoise_service.client.report_formats import (
    FIGURES,
    MEDIA_TYPES,
    ReportFormat,
    SuiteFormat,
)
from gradnoise_service.client.transport import Transport


class ReportCalls:
    """Base class of `Client`."""

    _transport: Transport

    def report(self, study_id: int, format: ReportFormat = "json") -> str:
        """Return a study's report; an interim report while the study runs.

        Raises:
            ApiError: With status 409 before the first trial has ended.
        """
        headers = {"Accept": MEDIA_TYPES[format]}
        return self._transport.request(
            "GET", f"/v1/studies/{study_id}/report", headers=headers
        ).text

    def figures(self, study_id: int, format: Literal["svg", "png"] = "svg") -> dict[str, bytes]:
        """Return the non-empty figures of a study's report as images by name.

        Raises as `report`.
        """
        images = {}
        for name in FIGURES:
            path = f"/v1/studies/{study_id}/report/figures/{name}"
            try:
                response = self._transport.request("GET", path, params={"format": format})
            except ApiError as error:
                if error.status != 404:
                    raise
            else:
                images[name] = bytes(response.content)
        return images

    def comparison(self, study_id: int) -> dict[str, Any]:
        """Return the JSON report as plain values; raises as `report`."""
        plain: dict[str, Any] = json.loads(self.report(study_id, "json"))
        return plain

    def suites(self) -> list[dict[str, Any]]:
        """Return name, owner and numbers of studies of each suite."""
        return list(self._transport.pages("/v1/suites", {}))

    def suite_report(
        self, name: str, format: SuiteFormat = "json", *, owner: str | None = None
    ) -> str:
        """Return the report of a suite; without a verdict until every study has ended.

        Args:
            name: The name of the suite.
            format: The format.
            owner: Its owner; required where an administrator sees several suites of this name.

        Raises:
            ApiError: With status 404 if there is no such suite, 409 if several owners have one.
        """
        path = "/v1/suites/" + quote(name, safe="")
        headers, params = {"Accept": MEDIA_TYPES[format]}, {"owner": owner} if owner else {}
        return self._transport.request("GET", path, headers=headers, params=params).text

    def suite(self, name: str, *, owner: str | None = None) -> dict[str, Any]:
        """Return the JSON report of a suite as plain values; as `suite_report`."""
        plain: dict[str, Any] = json.loads(self.suite_report(name, owner=owner))
        return plain
