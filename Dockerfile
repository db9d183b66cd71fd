# One image for each service: its package, what that depends on at the locked versions, and nothing else.
#   make images                                                            all of them
#   docker build --build-arg SERVICE=renderer -t vcenter-operator-renderer .
# Without SERVICE: the command `vcenter-operator` with all four stages. docs/images.md has the other arguments.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0
WORKDIR /src
COPY requirements/build.txt requirements/sbom.txt requirements/
RUN python -m venv /tools \
 && /tools/bin/pip install --quiet --require-hashes --no-deps -r requirements/build.txt -r requirements/sbom.txt

ARG SERVICE=
# An extra of the packages: traces.
ARG EXTRA=
COPY requirements requirements
RUN python -m venv --without-pip /app \
 && /tools/bin/pip --python /app/bin/python install --quiet --no-compile --require-hashes --no-deps \
      -r "requirements/${SERVICE:-runtime}.txt" ${EXTRA:+-r "requirements/$EXTRA.txt"}

# Every file of /app gets this time, so that the same sources give the same layer.
ARG SOURCE_DATE_EPOCH=0
COPY libs libs
COPY services services
RUN if [ -n "$SERVICE" ]; then own="services/$SERVICE"; packages="libs/common $own"; \
    else own=libs/command; packages="libs/common services/* $own"; fi \
 && /tools/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheels $(printf './%s ' $packages) \
 && /tools/bin/pip --python /app/bin/python install --quiet --no-compile --no-deps --no-index /wheels/*.whl \
 && /app/bin/python -m compileall -q --invalidation-mode unchecked-hash /app/lib \
 && /tools/bin/cyclonedx-py environment --output-reproducible --pyproject "$own/pyproject.toml" \
      --output-file /app/sbom.cdx.json /app/bin/python \
 && ln -s "vcenter-operator${SERVICE:+-$SERVICE}" /app/bin/entrypoint \
 && find /app -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} + \
 && mkdir /image && mv /app /image/app

FROM ${PYTHON_IMAGE}
COPY --from=build /image /
ENV PATH=/app/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
ENTRYPOINT ["/app/bin/entrypoint"]
ARG SERVICE=
ARG VERSION=unknown
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="vcenter-operator${SERVICE:+-$SERVICE}" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.source="$SOURCE" \
      org.opencontainers.image.licenses="Apache-2.0"
