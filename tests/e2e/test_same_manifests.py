"""One site, run in one process and as four on RabbitMQ: the same manifests; and nothing of them readable on the bus."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.processes import STAGES
from tests.e2e.test_command import COMMAND, EXAMPLE, environment, on_files
from tests.waiting import eventually

PLAINTEXTS = (b"host_password", b"nova-compute-secrets.conf", b"loci-nova", b"projected", b"an example seed")


def manifests(output: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(output)): path.read_bytes()
        for path in sorted(output.rglob("*.yaml"))
        if ".state" not in path.parts
    }


def run_until_complete(commands: list[list[str]], output: Path, log: Path) -> dict[str, bytes]:
    """Runs processes until every manifest of the example is there and nothing changes any more; stops them."""
    with log.open("w") as stderr:
        processes = [subprocess.Popen(command, stderr=stderr, env=environment()) for command in commands]
        try:
            eventually(lambda: len(manifests(output)) == 56, "every manifest", within=60, otherwise=log.read_text)
        finally:
            for process in processes:
                process.terminate()
            codes = [process.wait(15) for process in processes]
    assert codes == [0] * len(commands), log.read_text()
    return manifests(output)


@pytest.mark.needs("rabbitmq")
def test_the_embedded_run_and_the_run_on_rabbitmq_are_identical(rabbitmq: Any, amqp_url: str, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE, tmp_path / "region")
    files = on_files(tmp_path / "region")
    one, four = tmp_path / "one", tmp_path / "four"
    in_process = run_until_complete([[*COMMAND, "run", *files, "--output", str(one)]], one, tmp_path / "one.log")
    on_rabbitmq = run_until_complete(
        [[*COMMAND, stage, "--bus", amqp_url, *files, "--output", str(four)] for stage in STAGES],
        four,
        tmp_path / "four.log",
    )
    assert without_revision(on_rabbitmq) == without_revision(in_process)

    # Everything that went over the bus is in the broker's files: queues, write-ahead logs, archive streams.
    found = {
        (plaintext, path.name)
        for path in rabbitmq.folder.rglob("*")
        if path.is_file()
        for plaintext in PLAINTEXTS
        if plaintext in path.read_bytes()
    }
    assert found == set()
    assert any(b"vc-a-0.cc.qa-de-1.cloud.sap" in path.read_bytes() for path in rabbitmq.folder.rglob("*.segment"))


def without_revision(found: dict[str, bytes]) -> dict[str, list[bytes]]:
    """The manifests but for the revision, which tells in which epoch they were written."""
    return {name: [line for line in text.splitlines() if b"/revision:" not in line] for name, text in found.items()}
