#!/bin/bash
# A control plane as `k3s server --disable-agent` would be, but for the controllers: etcd and kube-apiserver, and a
# kubeconfig in $K3S_KUBECONFIG_OUTPUT. The arguments are k3s' and are not looked at.
set -eu
data=/var/lib/rancher/k3s
mkdir -p "$data"
if [ ! -f "$data/tokens.csv" ]; then
  openssl genrsa -out "$data/accounts.key" 2048
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj /CN=kubernetes \
    -addext subjectAltName=DNS:kubernetes,DNS:localhost,IP:127.0.0.1 -keyout "$data/server.key" -out "$data/server.crt"
  echo "$(openssl rand -hex 16),admin,admin,system:masters" > "$data/tokens.csv"
fi

etcd --data-dir "$data/etcd" --log-level warn &
kube-apiserver --etcd-servers http://127.0.0.1:2379 --secure-port 6443 \
  --tls-cert-file "$data/server.crt" --tls-private-key-file "$data/server.key" \
  --token-auth-file "$data/tokens.csv" --authorization-mode RBAC --anonymous-auth=false \
  --service-account-issuer https://kubernetes.default.svc --service-account-key-file "$data/accounts.key" \
  --service-account-signing-key-file "$data/accounts.key" --service-cluster-ip-range 10.96.0.0/16 \
  --disable-admission-plugins ServiceAccount --profiling=false &

cat > "$K3S_KUBECONFIG_OUTPUT" <<CONFIG
apiVersion: v1
kind: Config
clusters:
- name: default
  cluster: {server: "https://127.0.0.1:6443", certificate-authority-data: $(base64 -w0 "$data/server.crt")}
users:
- name: default
  user: {token: $(cut -d, -f1 "$data/tokens.csv")}
contexts:
- name: default
  context: {cluster: default, user: default}
current-context: default
CONFIG
wait -n  # either of them ending ends the container
