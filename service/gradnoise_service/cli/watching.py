"""Following a study until it ends."""

from gradnoise_service.cli.errors import FAILED
from gradnoise_service.client import Client
from gradnoise_service.terminal.console import err, show_json
from gradnoise_service.terminal.outcome import show_outcome
from gradnoise_service.terminal.progress import follow
from gradnoise_service.terminal.study import links


def watch(client: Client, study_id: int, *, as_json: bool) -> int:
    """Show the progress of a study until it ends, then its outcome; return the exit code."""
    try:
        if as_json:
            for progress in client.watch(study_id):
                show_json(progress)
        else:
            follow(client.watch(study_id))
    except KeyboardInterrupt:
        err.print(
            f"The study continues; `gradnoise watch {study_id}` follows it again.", style="dim"
        )
        raise
    info = client.study(study_id)
    is_complete = info.state == "complete"
    if not as_json:
        comparison = client.comparison(study_id) if is_complete else None
        show_outcome(info, comparison, links(info, client.base_url))
    return 0 if is_complete else FAILED
