# An image for every process of the service; docker-compose.yml selects the process of a container.
# DEVICE=gpu adds the C compiler with which Triton builds its launchers; Python.h is in the base image.
ARG DEVICE=cpu
FROM python:3.11-slim AS cpu
FROM cpu AS gpu
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*

FROM ${DEVICE}

# An additional index for pip. With an index of CPU wheels of torch, the image has no CUDA and is
# several times smaller.
ARG PIP_EXTRA_INDEX_URL=
ARG PIP_NO_CACHE_DIR=1

WORKDIR /opt/gradnoise

# The slow layers depend only on the lock and pyproject.toml: an empty project has the same
# dependencies.
COPY requirements.lock ./
RUN pip install -c requirements.lock torch hatchling editables
COPY pyproject.toml ./
RUN mkdir -p gradnoise service/gradnoise_service workers/gradnoise_workers alembic && touch README.md LICENSE \
 && pip install -c requirements.lock --no-build-isolation '.[service]' && pip uninstall --yes gradnoise

COPY . .
RUN pip install --no-deps --no-build-isolation . \
 && useradd --uid 10001 --create-home --home-dir /var/lib/gradnoise --shell /usr/sbin/nologin gradnoise \
 && install --directory --owner=gradnoise /artifacts /checkpoints

USER gradnoise
WORKDIR /var/lib/gradnoise
ENV GRADNOISE_HOME=/var/lib/gradnoise GRADNOISE_HOST=0.0.0.0 GRADNOISE_LOG_FORMAT=json \
    MPLCONFIGDIR=/tmp/matplotlib PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 RAY_USAGE_STATS_ENABLED=0
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["python", "-m", "gradnoise_service.app"]
