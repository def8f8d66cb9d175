# The one image for every platform: `penstock serve` by itself; jobs, replicas and the gateway say their own command.
#
#   docker build --build-arg EXTRAS=serve --build-arg PYTHON=docker.io/library/python:3.11-slim-bookworm@sha256:… -t penstock .
#
# PYTHON should carry a digest, so that the build can be repeated. `penstock image build` makes the same image without Docker.
ARG PYTHON=docker.io/library/python:3.11-slim-bookworm

FROM ${PYTHON} AS build
ARG EXTRAS=serve
COPY locks /src/locks
RUN python -m venv --without-pip /opt/penstock \
    && python -m pip --python /opt/penstock/bin/python install --no-cache-dir --no-deps --only-binary :all: --require-hashes \
       --disable-pip-version-check -r "/src/locks/${EXTRAS}.txt"
COPY pyproject.toml README.md LICENSE /src/
COPY src /src/src
RUN python -m pip wheel --no-cache-dir --no-deps --disable-pip-version-check --wheel-dir /wheel /src \
    && python -m pip --python /opt/penstock/bin/python install --no-cache-dir --no-deps --no-index --disable-pip-version-check /wheel/*.whl \
    && find /opt/penstock -name __pycache__ -prune -exec rm -rf {} + \
    && { PYTHONHASHSEED=0 /opt/penstock/bin/python -m compileall -q -j 1 --invalidation-mode unchecked-hash /opt/penstock/lib || true; }
# compileall fails for templates and files for other Pythons, which some packages carry and nothing imports.

FROM ${PYTHON}
RUN groupadd --gid 1000 penstock \
    && useradd --uid 1000 --gid 1000 --home-dir /work --shell /usr/sbin/nologin --no-create-home penstock \
    && install --directory --owner 1000 --group 1000 --mode 0755 /work
COPY --from=build /opt/penstock /opt/penstock
ENV PATH=/opt/penstock/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/work \
    PENSTOCK_HOME=/work/penstock \
    XDG_CACHE_HOME=/work/cache \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LANG=C.UTF-8
USER 1000:1000
WORKDIR /work
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["penstock"]
CMD ["serve"]
