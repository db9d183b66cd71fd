# One image for each service, with only its package and what that depends on, at the locked versions:
#   docker build --build-arg SERVICE=renderer -t vcenter-operator-renderer .
# Without SERVICE: the command `vcenter-operator` with all four stages.
ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS build
ARG SERVICE=
WORKDIR /src
COPY requirements requirements
RUN python -m venv /app \
 && /app/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt \
 && sed -e 's/ *\\$//' -e '/--hash/d' requirements/runtime.txt > constraints.txt
COPY libs libs
COPY services services
RUN if [ -n "$SERVICE" ]; then packages="services/$SERVICE"; \
    else packages="services/discovery services/collector services/renderer services/applier libs/command"; fi \
 && /app/bin/pip install --no-cache-dir --no-build-isolation -c constraints.txt ./libs/common \
    $(for package in $packages; do echo "./$package"; done) \
 && ln -s "vcenter-operator${SERVICE:+-$SERVICE}" /app/bin/entrypoint

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="vcenter-operator" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
ENTRYPOINT ["/app/bin/entrypoint"]
