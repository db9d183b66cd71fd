"""A BIND name server of our own with one zone: what Knot does otherwise."""

from __future__ import annotations

from pathlib import Path

from tests.stack import debian, progress
from tests.stack.zones import NameServer

_BIN = "/usr/sbin/named"


def install(say: progress.Say) -> debian.Installation:
    """BIND 9, from its Debian package."""
    return debian.installation("bind9", _BIN, say)


class Bind(NameServer):
    """One BIND. It sends NOTIFY over UDP, at once, and answers IXFR with the whole zone where that is shorter."""

    name = "BIND"

    def _command(self, installation: debian.Installation) -> list[str | Path]:
        return [installation.path(_BIN), "-g", "-n", "1", "-c", self._folder / "named.conf"]

    def _configure(self) -> None:
        # The zone file is rewritten from the journal now and then; each update is in one of them before its answer.
        folder, key = self._folder, self.key
        notify = ""
        if self._notify:
            address, port = self._notify
            notify = f'also-notify {{ {address} port {port} key "{key.name}"; }}; '
        text = (
            f'options {{ directory "{folder}"; pid-file "{folder}/pid"; session-keyfile "{folder}/session.key"; '
            f"lock-file none; listen-on port {self.port} {{ {self.address}; }}; listen-on-v6 {{ none; }}; "
            "recursion no; dnssec-validation no; notify explicit; notify-delay 0; };\n"
            "controls { };\n"
            f'key "{key.name}" {{ algorithm {key.algorithm}; secret "{key.secret}"; }};\n'
            f'zone "{self.zone}" {{ type primary; file "zones/{self.zone}.zone"; serial-update-method increment; '
            f'allow-update {{ key "{key.name}"; }}; allow-transfer {{ key "{key.name}"; }}; {notify}}};\n'
        )
        (folder / "named.conf").write_text(text)
