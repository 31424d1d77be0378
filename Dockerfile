# Three images: docker build --target coordinator|site|gateway . (docs/deployment.md)
#
#   BASE, GATEWAY_BASE  Debian with python3 and venv; Debian or Alpine with nginx 1.22 or newer. Name them by digest where
#                       an image has to be the same every time: BASE=python@sha256:...
#   wheels/             if there, packages are taken from it alone, and no network is used (scripts/make-offline-bundle)
#   TORCH_INDEX         another index for PyTorch, such as https://download.pytorch.org/whl/cpu for a machine without GPU
#   EXTRAS              the optional parts of a site's image: what reads a hospital's tables, images, genes and compounds;
#                       explain,export besides, or fewer of them. wheels/ must have theirs
#
# Each image runs as the user 10001, with nothing to write but /tmp and the volume that is mounted at /data. None is made
# unasked: keys and ledgers in a volume without a name would be lost with the container.
ARG BASE=python:3.13-slim-bookworm
ARG GATEWAY_BASE=nginx:1.28-bookworm

FROM scratch AS sources
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY privacy privacy
COPY models models
COPY client client
COPY server server

FROM ${BASE} AS build
ARG TORCH_INDEX=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
RUN python3 -m venv /opt/venv
COPY pyproject.toml constraints.txt README.md wheel[s] wheels/
RUN if ls wheels/torch-*.whl >/dev/null 2>&1; then \
        printf '[global]\nno-index = true\nfind-links = /build/wheels\n' >/etc/pip.conf; \
    fi; \
    /opt/venv/bin/pip install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch==2.13.0
COPY --from=sources / ./
RUN /opt/venv/bin/pip install --constraint constraints.txt . && find /opt/venv -name __pycache__ -prune -exec rm -r {} +

FROM build AS build-site
ARG EXTRAS=tables,images,genomics,chemistry
RUN /opt/venv/bin/pip install --constraint constraints.txt ".${EXTRAS:+[$EXTRAS]}" \
    && find /opt/venv -name __pycache__ -prune -exec rm -r {} +

FROM ${BASE} AS program
ENV PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PATH=/opt/venv/bin:$PATH HOME=/tmp
RUN echo 'consilium:x:10001:10001::/data:/usr/sbin/nologin' >>/etc/passwd \
    && echo 'consilium:x:10001:' >>/etc/group \
    && install -d -o 10001 -g 10001 -m 0700 /data
COPY --chmod=0755 deploy/health /usr/local/bin/consilium-health
USER 10001:10001
WORKDIR /data

# The packages come last in an image: some builders keep a copy of the whole file system for every line.
FROM program AS coordinator
ENV CONSILIUM_DIR=/data/federation
EXPOSE 9092 9093
HEALTHCHECK --interval=30s --timeout=10s --start-period=90s CMD ["consilium-health", "coordinator", "/data/federation"]
CMD ["consilium", "up"]
COPY --from=build /opt/venv /opt/venv

FROM program AS site
ENV CONSILIUM_SITE=/data/site
HEALTHCHECK --interval=30s --timeout=10s --start-period=90s CMD ["consilium-health", "site", "/data/site"]
CMD ["consilium-site", "up"]
COPY --from=build-site /opt/venv /opt/venv

FROM ${GATEWAY_BASE} AS gateway
COPY --chmod=0755 deploy/gateway/start /usr/local/lib/consilium/start
COPY --chmod=0644 deploy/gateway/nginx.conf.template /usr/local/lib/consilium/nginx.conf.template
ENV CONSILIUM_LISTEN=8443 CONSILIUM_FILES=/gateway CONSILIUM_RUN=/tmp/gateway
USER 10001:10001
EXPOSE 8443
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/lib/consilium/start"]
CMD []
