# One image for coordinator and sites; which it is, the command says. Keys, ledgers and data live in a volume.
FROM python:3.13-slim

ENV PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN useradd --create-home --uid 10001 consilium && install -d -o consilium -m 0700 /data /exchange

WORKDIR /opt/consilium
RUN python -m venv /opt/venv && /opt/venv/bin/pip install torch==2.13.0
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY privacy privacy
COPY models models
COPY client client
COPY server server
RUN /opt/venv/bin/pip install --constraint constraints.txt .

ENV PATH=/opt/venv/bin:$PATH
USER consilium
VOLUME ["/data", "/exchange"]
