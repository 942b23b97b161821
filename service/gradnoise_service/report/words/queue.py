"""What a queued study waits for, as a text."""

from collections.abc import Mapping

from gradnoise_service.domain.devices import DeviceChoice
from gradnoise_service.domain.progress import QueuePlace

LACKING: Mapping[DeviceChoice, str] = {
    "gpu": "a GPU: no worker has one",
    "cpu": "a CPU core: no worker has one",
    "all": "a worker: none has a GPU or a CPU core",
    "auto": "a worker: none has a GPU or a CPU core",
}


def waits_for(queue: QueuePlace) -> str:
    """Return the place of a queued study and what it waits for.

    >>> waits_for(QueuePlace(place=1, n_running=1, n_dispatchers=1))
    'next in the queue, waits for a running study to end'
    >>> waits_for(QueuePlace(place=3, n_running=1, n_dispatchers=1))
    'place 3 in the queue, waits for the 2 before it'
    >>> waits_for(QueuePlace(place=1, n_running=1, n_dispatchers=1, lacks="gpu"))
    'waits for a GPU: no worker has one'
    """
    if queue.lacks is not None:
        return f"waits for {LACKING[queue.lacks]}{''.join(f'; {fault}' for fault in queue.faults)}"
    place = "next in the queue" if queue.place == 1 else f"place {queue.place} in the queue"
    if not queue.n_dispatchers:
        return f"{place}, waits for a dispatcher: none is running"
    if queue.place > 1:
        return f"{place}, waits for the {'one' if queue.place == 2 else queue.place - 1} before it"
    return (
        f"{place}, waits for a running study to end" if queue.n_running else f"{place}, starts now"
    )
