# The HTTP service. No torch: nothing of the `worker` extra is installed here.
#
# PYTHON_IMAGE: pin it by digest (python@sha256:...) where two builds have to begin alike.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS dependencies
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_COMPILE=1 \
    PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0
WORKDIR /app
# What is locked, without our code: this layer is built again only when a version changes.
COPY pyproject.toml constraints.txt README.md LICENSE ./
# Compiled by content and not by time, sets in one order: the same files give the same bytes.
RUN python3 -m venv --without-pip /opt/hubel \
    && python3 -m pip --python /opt/hubel/bin/python install --constraint constraints.txt '.[api]' \
    && /opt/hubel/bin/python -m compileall -q -f --invalidation-mode unchecked-hash /opt/hubel/lib

FROM dependencies AS code
COPY shared shared
COPY api api
COPY deploy/smoke.py deploy/smoke.py
RUN rm -r pyproject.toml constraints.txt README.md LICENSE build hubel.egg-info \
    && /opt/hubel/bin/python -m compileall -q -f --invalidation-mode unchecked-hash .

FROM ${PYTHON_IMAGE}
ARG VERSION=dev
LABEL org.opencontainers.image.title="hubel-api" org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --no-create-home --no-log-init hubel \
    && mkdir /scratch && chown 10001:10001 /scratch
COPY --from=dependencies /opt/hubel /opt/hubel
COPY --from=code /app /app
ENV PATH=/opt/hubel/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp HUBEL_HOST=0.0.0.0 HUBEL_PORT=8000 HUBEL_SCRATCH_DIR=/scratch
USER 10001:10001
WORKDIR /tmp
VOLUME /scratch
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=6 CMD ["python", "-c", \
    "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
# Open to a network, and so it does not start without HUBEL_ADMIN_TOKEN (or a token in the store).
CMD ["python", "-m", "api.main"]
