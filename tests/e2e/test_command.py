"""The command as people run it: a process of its own, on files."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.waiting import eventually

GOLDEN = Path(__file__).parent / "golden" / "nova-compute.diff"
EXAMPLE = Path(__file__).parents[2] / "examples" / "site"
COMMAND = [sys.executable, "-m", "vcenter_operator.command"]


def environment(**settings: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("VCENTER_OPERATOR_")}
    return {**kept, "NO_COLOR": "1", "COLUMNS": "120", **settings}


def command(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=120, check=False, env=environment(**settings)
    )


@pytest.fixture
def region(tmp_path: Path) -> Path:
    shutil.copytree(EXAMPLE, tmp_path / "region")
    return tmp_path / "region"


def on_files(region: Path) -> list[str]:
    return ["--site", str(region / "site.yaml"), "--templates", str(region / "manifests")]


def test_help_tells_a_newcomer_what_there_is() -> None:
    told = command("--help")
    assert told.returncode == 0
    for word in (
        "run",
        "render",
        "status",
        "diff",
        "messages",
        "discovery",
        "collector",
        "renderer",
        "applier",
        "Exit codes",
    ):
        assert word in told.stdout


@pytest.mark.parametrize("name", ["status", "diff", "approve", "leftovers", "messages", "render"])
def test_every_command_for_people_says_what_its_exit_codes_mean(name: str) -> None:
    told = command(name, "--help")
    assert told.returncode == 0
    assert "xit code" in told.stdout


def test_render_prints_every_manifest(region: Path) -> None:
    told = command("render", *on_files(region))
    assert told.returncode == 0, told.stderr
    manifests = list(yaml.safe_load_all(told.stdout))
    assert len(manifests) == 56
    names = {f"{manifest['kind']}/{manifest['metadata']['name']}" for manifest in manifests}
    assert {"Deployment/nova-compute-bb1", "Secret/cinder-volume-vmware-qa-de-1d"} <= names
    assert "Deployment/neutron-dvs-agent-bb93" not in names  # no br- port group: the template yields nothing


def test_render_writes_files_that_only_their_owner_reads_where_they_are_secrets(region: Path, tmp_path: Path) -> None:
    told = command("render", *on_files(region), "--output", str(tmp_path / "out"))
    assert told.returncode == 0, told.stderr
    secret = tmp_path / "out" / "monsoon3" / "secret-nova-compute-bb1-credentials.yaml"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert len(list((tmp_path / "out").rglob("*.yaml"))) == 56


def test_render_names_template_and_line_of_a_failure_and_goes_on(region: Path) -> None:
    template = region / "manifests" / "cinder-storage.yaml"
    template.write_text(template.read_text().replace("{= cluster_name =}", "{= cluster_name | nope =}"))
    told = command("render", *on_files(region))
    assert told.returncode == 1
    assert "monsoon3/cinder-storage" in told.stderr
    assert "line 10" in told.stderr
    assert "nope" in told.stderr
    assert len(list(yaml.safe_load_all(told.stdout))) == 54


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("site.yaml", "vcenters: [", ["site.yaml:2"]),
        ("site.yaml", "region: r\ndomain: d\nnamespace: n\nvcenters: {vc-a-0: {datacenterz: {}}}", ["datacenterz"]),
        ("manifests/secret.yaml", "", ["vcenter-operator"]),
    ],
)
def test_a_wrong_file_is_one_clear_line_and_exit_code_2(region: Path, file: str, text: str, says: list[str]) -> None:
    (region / file).write_text(text)
    told = command("render", *on_files(region))
    assert told.returncode == 2, told.stderr
    assert "Traceback" not in told.stderr
    for word in says:
        assert word in told.stderr


def test_a_wrong_setting_is_named(region: Path) -> None:
    told = command("run", *on_files(region), VCENTER_OPERATOR_PARTITIONS="many")
    assert told.returncode == 2
    assert "VCENTER_OPERATOR_PARTITIONS" in told.stderr
    assert "Traceback" not in told.stderr


def test_a_missing_bus_key_is_named_with_what_to_do(region: Path, tmp_path: Path) -> None:
    secret = region / "manifests" / "secret.yaml"
    secret.write_text("\n".join(line for line in secret.read_text().splitlines() if "bus_key" not in line))
    told = command("run", *on_files(region), "--output", str(tmp_path / "out"))
    assert told.returncode == 2, told.stderr
    assert "bus_key" in told.stderr


def test_render_says_what_run_would_leave_out_and_fails(region: Path, tmp_path: Path) -> None:
    site = region / "site.yaml"
    text = site.read_text().replace("vc-b-0:\n", "vc-b-0:\n    unreachable: true\n").replace("vc-c-0:", "vcenter-c:")
    site.write_text(text + "  vc-z-9: {}\n")
    told = command("render", *on_files(region), "--output", str(tmp_path / "out"))
    assert told.returncode == 1, told.stderr
    assert "vc-b-0.cc.qa-de-1.cloud.sap: not rendered: " in told.stderr
    assert "vcenter-c.cc.qa-de-1.cloud.sap: not rendered: it is not named as a vCenter is" in told.stderr
    assert "vc-z-9.cc.qa-de-1.cloud.sap: not rendered: it is not in the zone" in told.stderr
    assert len(list((tmp_path / "out").rglob("*.yaml"))) == 18


def test_render_names_what_two_vcenters_yield(region: Path) -> None:
    site = region / "site.yaml"
    site.write_text(site.read_text().replace("QA-DE-1B", "QA-DE-1A"))
    told = command("render", *on_files(region))
    assert told.returncode == 1
    assert "cinder-volume-vmware-qa-de-1a: vc-a-0.cc.qa-de-1.cloud.sap yields it too" in told.stderr


def test_render_into_a_folder_that_cannot_be_made_is_one_clear_line(region: Path) -> None:
    told = command("render", *on_files(region), "--output", "/proc/nowhere")
    assert told.returncode == 2
    assert "vcenter-operator: --output /proc/nowhere: " in told.stderr
    assert "Traceback" not in told.stderr


@pytest.mark.parametrize("stage", ["discovery", "collector", "renderer", "applier"])
def test_a_stage_alone_wants_a_broker_wherever_the_bus_is_named(region: Path, stage: str) -> None:
    told = command(stage, *on_files(region), VCENTER_OPERATOR_BUS="in-process")
    assert told.returncode == 2
    assert "name a RabbitMQ" in told.stderr


@pytest.mark.parametrize(
    ("package", "loading", "arguments", "code"),
    [
        ("command", "command.cli", ["run"], 0),
        ("command", "command.cli", ["render"], 143),
        ("renderer", "renderer.wiring", [], 0),
    ],
)
def test_told_to_stop_while_it_is_loaded_it_stops(package: str, loading: str, arguments: list[str], code: int) -> None:
    """A container's first process does not notice a signal at all for which it has no handler."""
    program = f"""
import os, signal, sys
class Told:
    def find_spec(self, name, path, target=None):
        if name == "vcenter_operator.{loading}":
            os.kill(os.getpid(), signal.SIGTERM)
sys.meta_path.insert(0, Told())
from vcenter_operator.{package}.__main__ import main
main()
"""
    told = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60, check=False,
        env=environment(),
    )  # fmt: skip
    assert (told.returncode, told.stdout, told.stderr) == (code, "", "")


@pytest.mark.parametrize("received", [signal.SIGTERM, signal.SIGINT])
def test_run_writes_the_manifests_and_stops_when_told(region: Path, tmp_path: Path, received: int) -> None:
    output = tmp_path / "out"
    process = subprocess.Popen(
        [*COMMAND, "run", *on_files(region), "--output", str(output)],
        stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    try:
        eventually(lambda: len(list((output / "monsoon3").glob("*.yaml"))) == 56, "every manifest", within=30)
        process.send_signal(received)
        _, log = process.communicate(timeout=15)
    finally:
        process.kill()
    assert process.returncode == 0, log


def test_a_dry_run_on_files_writes_nothing(region: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    log = tmp_path / "log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [*COMMAND, "run", "--dry-run", *on_files(region), "--output", str(output)], stderr=stderr, env=environment()
        )
        try:
            eventually(lambda: log.read_text().count("nova-compute-bb94") > 0, "the plan is logged", within=30)
        finally:
            process.terminate()
            process.wait(15)
    assert list(output.rglob("*")) == []


def test_a_restart_deals_with_what_went_meanwhile_and_writes_nothing_else(region: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out" / "monsoon3"

    def run_until(objects: int) -> dict[str, int]:
        process = subprocess.Popen(
            [*COMMAND, "run", *on_files(region), "--output", str(folder.parent)],
            stderr=subprocess.DEVNULL,
            env=environment(),
        )
        try:
            eventually(lambda: len(list(folder.glob("*.yaml"))) == objects, f"{objects} manifests", within=30)
        finally:
            process.terminate()
            process.wait(15)
        return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.yaml")}

    first = run_until(56)
    site = region / "site.yaml"
    site.write_text(site.read_text().split("          productionbb094:")[0])
    second = run_until(51)
    assert second == {name: first[name] for name in first if "bb94" not in name}


def applied(region: Path, output: Path) -> None:
    """Every manifest, written by a run that is over."""
    process = subprocess.Popen(
        [*COMMAND, "run", *on_files(region), "--output", str(output)], stderr=subprocess.DEVNULL, env=environment()
    )
    try:
        eventually(lambda: len(list((output / "monsoon3").glob("*.yaml"))) == 56, "every manifest", within=60)
        records = output / ".state" / "records"
        eventually(lambda: "Applied" in (records / f"{LAST}.yaml").read_text(), "the record says so", within=60)
    finally:
        process.terminate()
        process.wait(15)


LAST = "vc-c-0.cc.qa-de-1.cloud.sap"


def files_of(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_diff_on_files_is_empty_after_a_run_and_then_shows_what_an_edit_would_change(
    region: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    applied(region, output)
    written = files_of(output)
    same = command("diff", *on_files(region), "--output", str(output))
    assert (same.returncode, same.stdout) == (0, ""), same.stderr

    template = region / "manifests" / "nova-compute.yaml"
    template.write_text(template.read_text().replace("replicas: 1", "replicas: 2"))
    site = region / "site.yaml"
    site.write_text(site.read_text().split("          productionbb094:")[0])
    told = command(
        "diff", *on_files(region), "--output", str(output), "--vcenter", "vc-c-0", "--template", "nova-compute"
    )
    assert told.returncode == 1, told.stderr
    assert told.stdout == GOLDEN.read_text()
    assert files_of(output) == written


def test_diff_on_files_names_what_cannot_be_found_out_and_exits_with_2(region: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    site = region / "site.yaml"
    site.write_text(site.read_text().replace("vc-b-0:\n", "vc-b-0:\n    unreachable: true\n", 1))
    told = command("diff", *on_files(region), "--output", str(tmp_path / "out"))
    assert told.returncode == 2, told.stderr
    assert "vc-b-0.cc.qa-de-1.cloud.sap: unknown, so that nothing of it would change: Unreachable" in told.stderr
    assert "deployment-nova-compute-bb94" in told.stdout
    assert "vc-b-0" not in told.stdout
    assert list((tmp_path / "out").iterdir()) == []


def test_diff_on_files_needs_a_folder_to_compare_with(region: Path) -> None:
    told = command("diff", *on_files(region))
    assert told.returncode == 2
    assert "--output is missing" in told.stderr
