"""A certificate authority of the stack's own, made with the ``openssl`` command."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.stack.errors import StackError

_EC = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


@dataclass(frozen=True)
class KeyPair:
    """Files of one certificate and its private key, both PEM."""

    certificate: Path
    key: Path


class CertificateAuthority:
    """Signs server and client certificates that are valid for two days; ``certificate`` is what clients trust."""

    def __init__(self, folder: Path, name: str = "vcenter-operator test CA") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.certificate = folder / "ca.pem"
        self._key = folder / "ca.key"
        _openssl(
            "req", "-x509", *_EC, "-days", "2", "-subj", f"/CN={name}",
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
            "-keyout", self._key, "-out", self.certificate,
        )  # fmt: skip

    def server(self, name: str, *names: str) -> KeyPair:
        """A server certificate for DNS names and IP addresses (the first is the file's name and the common name)."""
        alternatives = ",".join(f"{'IP' if _is_address(each) else 'DNS'}:{each}" for each in (name, *names))
        return self._issue(name, f"/CN={name}", f"subjectAltName={alternatives}", "extendedKeyUsage=serverAuth")

    def peer(self, name: str, address: str) -> KeyPair:
        """A certificate for a server that is a client of its like too (etcd)."""
        return self._issue(
            name, f"/CN={name}", f"subjectAltName=IP:{address}", "extendedKeyUsage=serverAuth,clientAuth"
        )

    def client(self, user: str, *groups: str) -> KeyPair:
        """A client certificate whose common name is the user, and whose organisations are the groups (Kubernetes)."""
        subject = "".join(f"/O={group}" for group in groups) + f"/CN={user}"
        return self._issue(f"client-{user}", subject, "extendedKeyUsage=clientAuth")

    def _issue(self, name: str, subject: str, *extensions: str) -> KeyPair:
        stem = name.replace(":", "_").replace("/", "_")
        pair = KeyPair(self._folder / f"{stem}.pem", self._folder / f"{stem}.key")
        # A key of one's own would do here; -addext would not: "x509 -req" does not copy extensions on older versions.
        wanted = ["basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature", *extensions]
        file = self._folder / f"{stem}.ext"
        file.write_text("\n".join([*wanted, "subjectKeyIdentifier=hash", "authorityKeyIdentifier=keyid"]) + "\n")
        request = self._folder / f"{stem}.csr"
        _openssl("req", "-new", *_EC, "-subj", subject, "-keyout", pair.key, "-out", request)
        _openssl(
            "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial",
            "-days", "2", "-extfile", file, "-out", pair.certificate,
        )  # fmt: skip
        pair.key.chmod(0o600)
        return pair


def signing_key(private: Path, public: Path) -> None:
    """A key pair for signing tokens, as two PEM files."""
    _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-out", private)
    _openssl("pkey", "-in", private, "-pubout", "-out", public)


def _is_address(name: str) -> bool:
    return name.replace(".", "").isdigit() or ":" in name


def _openssl(*arguments: str | Path) -> None:
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise StackError(f"openssl {arguments[0]} failed: {done.stderr.strip()}")
