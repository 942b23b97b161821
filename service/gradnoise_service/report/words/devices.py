"""How busy the devices of a study were, as text."""

from collections.abc import Mapping
from typing import Any

from gradnoise_service.report.words.numbers import count, duration, percent


def busy(found: Mapping[str, Any]) -> str:
    """Return the share of device time, from an entry `busy` of a protocol.

    >>> use = {"share": 0.94, "device_seconds": 206.8, "wall_seconds": 110.0, "n_devices": 2}
    >>> busy(use)
    '94 % from the first trial to the verdict: 3 min 27 s of device time in 1 min 50 s on 2 devices'
    """
    return (
        f"{percent(found['share'])} from the first trial to the verdict: "
        f"{duration(found['device_seconds'])} of device time in {duration(found['wall_seconds'])} "
        f"on {count(found['n_devices'], 'device')}"
    )
