#!/bin/bash
# Breaks the region of `make up` piece by piece, and sees it recover; then takes it down and looks for what is left.
# Arguments: the compose command.
set -euo pipefail
kubectl() { "${compose[@]}" exec -T kubernetes kubectl --namespace monsoon3 "$@"; }
compose=("$@")

blocks=(94 93 92 91 43 42 41 3 2 1)  # each once: what is deleted again and again is put right ever more rarely
comes_back() {  # what is deleted by hand
  local deployment="nova-compute-bb${blocks[0]}"
  blocks=("${blocks[@]:1}")
  kubectl delete deployment "$deployment" > /dev/null
  kubectl wait deployment "$deployment" --for create --timeout 60s > /dev/null
  kubectl wait vcenters --all --for condition=Ready --timeout 60s > /dev/null
  echo "ok: after $1"
}

comes_back "nothing"
for stage in applier renderer collector discovery; do
  "${compose[@]}" kill --signal KILL "$stage" 2> /dev/null
  "${compose[@]}" start "$stage" 2> /dev/null
  comes_back "SIGKILL of $stage"
done
for server in dns rabbitmq kubernetes; do
  "${compose[@]}" restart "$server" 2> /dev/null
  until kubectl get --raw /readyz > /dev/null 2>&1; do sleep 1; done
  comes_back "a restart of $server"
done

before=$(kubectl get deployments --output name)
"${compose[@]}" restart vc-a-0 2> /dev/null
kubectl wait vcenter vc-a-0.cc.qa-de-1.cloud.sap --for condition=DeletionHeld --timeout 90s > /dev/null
[ "$before" = "$(kubectl get deployments --output name)" ]
echo "ok: a vCenter that is suddenly empty takes nothing with it"
"${compose[@]}" run --rm --no-deps -T seed 2> /dev/null
comes_back "the vCenter was filled again"

"${compose[@]}" --profile tools down --volumes --remove-orphans 2> /dev/null
for kind in container volume network; do
  [ -z "$(docker "$kind" ls --quiet --filter label=com.docker.compose.project=vcenter-operator)" ]
done
echo "ok: nothing is left"
