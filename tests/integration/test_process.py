"""How a process ends: its exit code, what it says, and that a signal always ends it. Real processes, real signals."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator

import pytest

PROLOGUE = """
import asyncio, sys, threading, time
from vcenter_operator.common.errors import ConfigurationError
from vcenter_operator.common.process import run, serve
from vcenter_operator.common.settings import Settings

def settings():
    return Settings.load(stop_within=0.3)

async def until_told():
    print("ready", flush=True)
    await asyncio.Event().wait()

class Service:
    def __init__(self, work):
        self.run = work

async def wrong():
    raise ConfigurationError("Secret vcenter-operator: key 'username' is missing or empty")

async def broken():
    raise RuntimeError("a defect")
"""


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a process with the prologue and a script, and an environment with nothing but what is given."""
    started: list[subprocess.Popen[str]] = []

    def begin(script: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", PROLOGUE + textwrap.dedent(script)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": os.environ["PATH"], **environment},
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, said = process.communicate(timeout=60)
    return process.returncode, said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_as_told_is_success(start: Start, number: signal.Signals) -> None:
    process = start("""
    async def body():
        try:
            await serve(Service(until_told), Service(until_told))
        finally:
            print("finished what it held", flush=True)
    sys.exit(run(body, settings))
    """)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    out, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "finished what it held" in out
    assert f"signal={number.name}" in said or number.name in said


@pytest.mark.parametrize(
    "script",
    [
        "sys.exit(run(lambda: serve(Service(until_told), Service(wrong)), settings))",
        "sys.exit(run(wrong, settings))",
    ],
)
def test_a_wrong_secret_is_one_line_and_exit_code_2(start: Start, script: str) -> None:
    code, said = ended(start(script))
    assert code == 2
    assert said == "vcenter-operator: Secret vcenter-operator: key 'username' is missing or empty\n"


def test_a_wrong_setting_is_one_line_and_exit_code_2(start: Start) -> None:
    code, said = ended(start("sys.exit(run(until_told, lambda: Settings.load(partitions='many')))"))
    assert code == 2
    assert said.startswith("vcenter-operator: VCENTER_OPERATOR_PARTITIONS: ")
    assert said.count("\n") == 1


def test_a_defect_is_logged_and_stops_the_other_stages(start: Start) -> None:
    code, said = ended(start("sys.exit(run(lambda: serve(Service(until_told), Service(broken)), settings))"))
    assert code == 1
    assert "RuntimeError: a defect" in said


@pytest.mark.parametrize(
    "stubborn",
    [
        "threading.Thread(target=time.sleep, args=(60,)).start()",
        "await asyncio.to_thread(time.sleep, 60)",
        "print('ready', flush=True); time.sleep(60)",  # the loop itself
    ],
)
def test_what_hangs_does_not_keep_the_process(start: Start, stubborn: str) -> None:
    process = start(f"""
    async def body():
        loop = asyncio.get_running_loop()
        loop.call_later(0.2, lambda: print("ready", flush=True))
        {stubborn}
        await asyncio.Event().wait()
    sys.exit(run(body, settings))
    """)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    code, said = ended(process)
    assert time.monotonic() - began < 10
    assert (code, "Timeout (" in said) == (1, True), "it shows where the threads stand"


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"VCENTER_OPERATOR_BUS": "in-process"}, "VCENTER_OPERATOR_BUS: a stage by itself needs a broker"),
        ({"KUBECONFIG": "/nonexistent/kubeconfig"}, "/nonexistent/kubeconfig"),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "service account in "),
    ],
)
def test_a_stage_that_cannot_start_says_why_in_one_line(start: Start, environment: dict[str, str], said: str) -> None:
    process = start(
        """
    from vcenter_operator.common.messages import Stage
    from vcenter_operator.common.process import stage_main
    sys.exit(stage_main(Stage.COLLECTOR, Settings, None, []))
    """,
        **environment,
    )
    code, printed = ended(process)
    assert code == 2
    assert said in printed
    assert printed.count("\n") == 1
