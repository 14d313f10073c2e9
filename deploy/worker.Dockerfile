# One worker: one GPU, or one CPU worker. Run as many containers as there are devices.
FROM python:3.11-slim-bookworm

# Left empty, Linux gets the CUDA build. Give an index of CPU builds for a smaller image.
ARG TORCH_INDEX_URL=""
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN pip install --constraint constraints.txt ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} torch
COPY shared shared
COPY worker worker
RUN pip install --constraint constraints.txt '.[worker]' \
    && useradd --uid 10001 --no-create-home hubel \
    && mkdir /data && chown hubel /data

USER 10001
WORKDIR /tmp
ENV HUBEL_DATA_DIR=/data
VOLUME /data
CMD ["python", "-m", "worker.main"]
