"""The dispatcher process: `python -m gradnoise_workers`.

Prepares the database, joins or starts Ray, and runs studies until SIGTERM or SIGINT. Where the Ray
that it started ends, so does the process, with the exit status 1.
"""

import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray
import structlog
from ray.job_config import JobConfig

from gradnoise.training.checkpoint import Checkpoints
from gradnoise.training.files import Files
from gradnoise.training.gpus import cuda_fault
from gradnoise.workloads.catalogue import document
from gradnoise_service import logs
from gradnoise_service.domain import dispatcher_id
from gradnoise_service.domain.devices import Devices
from gradnoise_service.domain.source import Source
from gradnoise_service.domain.study import Study
from gradnoise_service.prepare_database import prepare_or_exit
from gradnoise_service.search import open_storage
from gradnoise_service.settings import Settings, read_settings
from gradnoise_service.store import catalogues
from gradnoise_service.store.database import open_database
from gradnoise_service.usecases.study_folders import StudyFolders
from gradnoise_workers.cluster import Cluster
from gradnoise_workers.code_hash import installed_hashes
from gradnoise_workers.dispatcher import Dispatcher
from gradnoise_workers.driver import Driver
from gradnoise_workers.ray_session import record_session, remove_session
from gradnoise_workers.remote import RayLauncher


def main() -> None:
    settings = read_settings()
    logs.configure(settings, "workers")
    log = structlog.get_logger()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    is_local, left_behind = settings.ray_address == "local", settings.home / "ray-session"
    if is_local:
        remove_session(left_behind)
    with ThreadPoolExecutor(1) as thread:
        prepared = thread.submit(_prepare, settings)  # while Ray's processes start
        started: Any = ray.init(
            address=settings.ray_address,
            include_dashboard=False if is_local else None,
            log_to_driver=False,
            # any other job puts the current folder first on the workers' sys.path
            job_config=JobConfig(_client_job=True),
        )
    if is_local:
        record_session(left_behind, started.address_info["session_dir"])
    stop = threading.Event()
    # after ray.init, which installs its own handlers
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    def now() -> datetime:
        return datetime.now(UTC)

    announced = prepared.result()
    for broken in announced["broken"]:
        log.error("an entry point cannot be loaded and is not announced", **broken)
    database, storage = open_database(settings.database), open_storage(settings.database)
    cluster = Cluster()
    can_nodes_join = not is_local
    may_have_gpus = can_nodes_join or (cluster.devices().n_gpus > 0 and not cuda_fault())
    with database.session(write=True) as session:
        catalogues.publish(
            session,
            {**announced, "may_have_gpus": may_have_gpus},
            now(),
        )
    has_lost_ray = threading.Event()

    def devices() -> Devices:
        if not can_nodes_join and not cluster.nodes():
            log.error("the local Ray has ended, and no node can join it: the process ends too")
            has_lost_ray.set()
            stop.set()
        return cluster.devices()

    checkpoints = Checkpoints(
        url=settings.checkpoints_url, every_seconds=settings.checkpoint_seconds
    )
    is_remote = "://" in checkpoints.url  # a trace is read while it is written
    files = Files(url=settings.artifacts_url, most_bytes=settings.max_file_bytes)

    def open_launcher(study: Study, source: Source | None) -> RayLauncher:
        return RayLauncher(
            cluster,
            study.devices,
            checkpoints,
            settings.concurrent_studies,
            source,
            files,
            traces=None if is_remote else Path(checkpoints.url) / str(study.id) / "workers",
        )

    driver = Driver(
        database=database,
        storage=storage,
        open_launcher=open_launcher,
        files=files,
        slots=settings.slots,
        protocol={**announced["protocol"], "versions": announced["versions"]},
        lease=settings.lease,
        now=now,
        import_seconds=settings.import_seconds,
        marks_changed_code=settings.changed_code == "mark",
    )
    dispatcher = Dispatcher(
        id=dispatcher_id.new(os.getpid()),
        database=database,
        storage=storage,
        driver=driver,
        checkpoints=StudyFolders(url=checkpoints.url),
        devices=devices,
        lease=settings.lease,
        concurrent_studies=settings.concurrent_studies,
        now=now,
        keep=settings.keep,
    )
    log.info("ready for studies", device=cluster.devices().text, dispatcher=dispatcher.id)
    dispatcher.run(stop)
    ray.shutdown()
    if is_local:
        remove_session(left_behind)
    database.dispose()
    log.info("stopped")
    sys.exit(int(has_lost_ray.is_set()))


def _prepare(settings: Settings) -> dict[str, Any]:
    """Prepare the database and return the catalogue, with the hashes of its code."""
    prepare_or_exit(settings.database)
    return {**document(), "code_of": installed_hashes()}


if __name__ == "__main__":
    main()
