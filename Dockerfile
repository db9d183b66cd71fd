# One image for each service: docker build --build-arg SERVICE=renderer .
# Only that service's package and what it depends on is in it.
ARG PYTHON_IMAGE=python:3.11-slim
FROM ${PYTHON_IMAGE} AS build
ARG SERVICE
WORKDIR /src
COPY requirements/build.txt requirements/runtime.txt requirements/
RUN python -m venv /app && /app/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt
COPY libs/common libs/common
COPY services/${SERVICE} services/${SERVICE}
# The lock only constrains: each image gets the packages that its service declares, at the locked versions.
RUN sed -e 's/ *\\$//' -e '/--hash/d' requirements/runtime.txt > constraints.txt \
 && /app/bin/pip install --no-cache-dir --no-build-isolation -c constraints.txt ./libs/common ./services/${SERVICE}

FROM ${PYTHON_IMAGE}
ARG SERVICE
LABEL org.opencontainers.image.title="vcenter-operator-${SERVICE}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 SERVICE=${SERVICE}
USER 65532:65532
ENTRYPOINT ["/bin/sh", "-c", "exec vcenter-operator-$SERVICE \"$@\"", "vcenter-operator"]
