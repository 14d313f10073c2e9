# One worker: one GPU, or one CPU worker. Run as many containers as there are devices.
#
# DEVICE: `cpu`, or `cuda`: then the build ends where torch has no CUDA.
# TORCH_INDEX_URL: where torch comes from. Empty is pip's usual index, whose Linux build is the one
# for CUDA (it trains on a CPU as well, and is larger by gigabytes). The index of CPU builds, or of
# another CUDA, stands on PyTorch's installation page.
# PYTHON_IMAGE: pin it by digest (python@sha256:...) where two builds have to begin alike.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS dependencies
ARG DEVICE=cpu
ARG TORCH_INDEX_URL=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_COMPILE=1 \
    PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0
WORKDIR /app
RUN python3 -m venv --without-pip /opt/hubel
COPY constraints.txt ./
# By itself first: the largest layer, which the next one then takes as given. One of its files is
# for Python 3.12 alone.
RUN python3 -m pip --python /opt/hubel/bin/python install --constraint constraints.txt \
    ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} torch \
    && /opt/hubel/bin/python -c "import torch; assert '${DEVICE}' != 'cuda' or torch.version.cuda, 'this torch has no CUDA'" \
    && /opt/hubel/bin/python -m compileall -q -f -x /py312_ --invalidation-mode unchecked-hash /opt/hubel/lib

FROM dependencies AS rest
COPY pyproject.toml README.md LICENSE ./
RUN python3 -m pip --python /opt/hubel/bin/python install --constraint constraints.txt '.[worker]' \
    && /opt/hubel/bin/python -m compileall -q -f -x /py312_ --invalidation-mode unchecked-hash /opt/hubel/lib

FROM rest AS code
COPY shared shared
COPY worker worker
RUN rm -r pyproject.toml constraints.txt README.md LICENSE build hubel.egg-info \
    && /opt/hubel/bin/python -m compileall -q -f --invalidation-mode unchecked-hash .

FROM ${PYTHON_IMAGE}
ARG DEVICE=cpu
ARG VERSION=dev
LABEL org.opencontainers.image.title="hubel-worker" org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.licenses="Apache-2.0" hubel.device="${DEVICE}"
RUN useradd --uid 10001 --no-create-home --no-log-init hubel \
    && mkdir /data /scratch && chown 10001:10001 /data /scratch
COPY --from=rest /opt/hubel /opt/hubel
COPY --from=code /app /app
ENV PATH=/opt/hubel/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp HUBEL_DATA_DIR=/data HUBEL_SCRATCH_DIR=/scratch \
    HUBEL_METRICS_HOST=0.0.0.0 HUBEL_METRICS_PORT=9464
USER 10001:10001
WORKDIR /tmp
VOLUME /data /scratch
EXPOSE 9464
# Its parent answers, also while the child trains: a child that hangs is the parent's to end.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=4 CMD ["python", "-c", \
    "import urllib.request as r; r.urlopen('http://127.0.0.1:9464/metrics', timeout=4)"]
CMD ["python", "-m", "worker.main"]
