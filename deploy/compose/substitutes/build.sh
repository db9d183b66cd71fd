#!/bin/bash
# Builds images that stand in for the third-party ones of docker-compose.yml, for machines that reach no registry of
# images: from Debian's packages, and from the servers that the tests build (python -m tests.stack install).
# Needs root, debootstrap, go and an engine. Then: COMPOSE_ENV_FILES=deploy/compose/substitutes/env make up
set -euo pipefail
cd "$(dirname "$0")"
name=vcenter-operator-substitute
mkdir -p build

if ! docker image inspect "$name/debian" > /dev/null 2>&1; then
  root=$(mktemp -d)
  trap 'rm -rf "$root"' EXIT
  debootstrap --variant=minbase --include=ca-certificates,openssl,python3-venv bookworm "$root"
  ln -s /usr/bin/python3 "$root/usr/local/bin/python"
  # A mirror of packages may have its certificate from a private authority.
  cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
  tar -C "$root" -c . | docker import -c 'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt' - "$name/debian"
fi

(cd ../../.. && .venv/bin/python - deploy/compose/substitutes/build) << 'PYTHON'
import shutil, sys
from tests.stack.kubernetes import install

servers = install(print)
for program in (servers.apiserver, servers.etcd, servers.kubectl):
    shutil.copy(program, sys.argv[1])
PYTHON
(cd vcsim && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o ../build/vcsim .)
for image in rabbitmq knot kubernetes vcsim; do
  docker build --target "$image" -t "$name/$image" .
done
