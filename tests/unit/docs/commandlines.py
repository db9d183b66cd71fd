"""The command lines that stand in the documentation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from tests.markdown import PAGES, ROOT, blocks, prose

PROGRAMS = frozenset({
    "vcenter-operator", *(f"vcenter-operator-{stage}" for stage in ("discovery", "collector", "renderer", "applier")),
    "make", "kubectl", "helm", "docker", "rabbitmqctl", "rabbitmq-diagnostics", "openssl", "pip", "git", "promtool",
    "curl",
})  # fmt: skip
"""A line or a code span that begins with one of these is a command."""
KUBECTL_RUN = re.compile(
    r"kubectl ((get|describe|annotate|patch) (vc|vct|vcenters)\b"
    r"|(create|label) namespace |(create|describe|annotate) secret |(create|get|delete) configmap "
    r"|get (deploy,)?pods|get deployments .* -l )"
)
"""What `tests/integration/test_docs_kubectl.py` runs: all that needs no pod, and no server of its own."""


class CommandLine(NamedTuple):
    """One command, without what it is piped into."""

    where: str
    text: str

    @property
    def program(self) -> str:
        return self.text.split()[0]


def in_blocks() -> Iterator[CommandLine]:
    """Of `shell` blocks; `$ ` begins a command in any other. Blocks of `console` are run as they stand."""
    for page in PAGES:
        for block in blocks(page):
            if block.language == "console":
                continue
            lines = re.sub(r" *\\\n *", " ", block.text).splitlines()
            for line in lines:
                shown = line.startswith("$ ")
                if shown or block.language == "shell":
                    yield from commands(str(block), line.removeprefix("$ "))


def in_prose() -> Iterator[CommandLine]:
    """Code spans that begin with a program and go on."""
    for page in PAGES:
        for span in re.findall(r"`([^`]+)`", prose(page)):
            words = span.split()
            if len(words) > 1 and words[0] in PROGRAMS:
                yield from commands(str(page.relative_to(ROOT)), " ".join(words).replace("\\|", "|"))


def commands(where: str, line: str) -> Iterator[CommandLine]:
    """Those of one line: comments, redirections, assignments and shell keywords left out."""
    line = re.sub(r"(^|\s)#.*$", "", line)
    for part in re.split(r"\s(?:\||&&|;|&)(?:\s|$)|;(?:\s|$)", line):
        text = re.sub(r"\s+\d?>\s*\S+|\s+</dev/null", "", part.strip())
        text = re.sub(r"^(?:(?:until|do|then|if|while|sudo|time)\s+|[A-Z_]+=(?:\"[^\"]*\"|\S*)\s*)+", "", text)
        if text and text not in ("done", "fi", "do") and not text.startswith("for "):
            yield CommandLine(where, text)
