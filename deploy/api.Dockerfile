# The HTTP service. No torch: nothing of the `worker` extra is installed here.
FROM python:3.11-slim-bookworm

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY shared shared
COPY api api
RUN pip install --constraint constraints.txt '.[api]' \
    && useradd --uid 10001 --no-create-home hubel

USER 10001
WORKDIR /tmp
ENV HUBEL_HOST=0.0.0.0 HUBEL_PORT=8000
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["python", "-c", \
    "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
# Open to a network, and so it does not start without HUBEL_ADMIN_TOKEN (or a token in the store).
CMD ["python", "-m", "api.main"]
