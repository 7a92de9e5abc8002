# xraytune without a GPU. Dockerfile.cuda is the same on another base; a test holds that nothing else differs.
#     docker build -t xraytune .
#     docker run --rm --init --shm-size=2g --user "$(id -u)" -v "$PWD/chest_xray:/data:ro" -v "$PWD/results:/xraytune/results" \
#         xraytune search --data /data
FROM debian:bookworm-slim

ENV LANG=C.UTF-8 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-venv && rm -rf /var/lib/apt/lists/*

# the dependencies first, which change seldom: exact versions, each file checked by its hash
WORKDIR /opt/xraytune
COPY requirements.lock ./
RUN python3 -m venv /opt/venv && /opt/venv/bin/pip install --require-hashes --only-binary :all: -r requirements.lock

COPY pyproject.toml README.md LICENSE ./
COPY src ./src
COPY spaces ./spaces
COPY search ./search
RUN /opt/venv/bin/pip install --no-deps --no-build-isolation --no-index .

# whoever runs it, also with docker run --user "$(id -u)", may write results and cache, and nothing else
ENV PATH=/opt/venv/bin:$PATH HOME=/xraytune USER=researcher XRAYTUNE_CACHE=/xraytune/cache XRAYTUNE_WEIGHTS=/xraytune/weights
RUN useradd --uid 10001 --home-dir /xraytune --create-home researcher && mkdir /xraytune/results /xraytune/cache /xraytune/weights \
    && chown -R researcher: /xraytune && chmod 1777 /xraytune /xraytune/results /xraytune/cache
USER researcher
WORKDIR /xraytune
VOLUME ["/xraytune/results", "/xraytune/cache"]
ENTRYPOINT ["xraytune"]
CMD ["--help"]
