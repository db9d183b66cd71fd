#!/bin/sh
# Waits until every vCenter of the example region is Ready, and says where to look. Arguments: the compose command.
set -eu
kubectl="$* exec -T kubernetes kubectl --namespace monsoon3"

echo "Waiting until the objects of three vCenters are there ..."
left=150
until [ "$($kubectl get vcenters --output name 2> /dev/null | wc -l)" = 3 ] || [ $left = 0 ]; do
  left=$((left - 1))
  sleep 2
done
if ! $kubectl wait vcenters --all --for condition=Ready --timeout 180s > /dev/null; then
  $* logs --tail 20 discovery collector renderer applier
  exit 1
fi

$kubectl get vcenters
echo
$kubectl get deployments --selector applyset.kubernetes.io/part-of
cat << EOF

  kubectl     $* exec kubernetes kubectl -n monsoon3 get vcenters,deployments
  status      $* run --rm command status
  messages    $* run --rm command messages trace vc-a-0
  logs        $* logs --follow discovery collector renderer applier
  RabbitMQ    http://localhost:${RABBITMQ_UI_PORT:-15672}, user vcenter-operator, password example

What to try is in docs/compose.md; "make down" takes all of it away.
EOF
