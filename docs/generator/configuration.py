"""docs/configuration.md, from the types of the settings and the keys of the Secret."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from vcenter_operator.applier.settings import ApplierSettings
from vcenter_operator.collector.settings import CollectorSettings
from vcenter_operator.common.secretkeys import SECRET_KEYS
from vcenter_operator.common.settings import ManifestSettings, Settings
from vcenter_operator.common.variables import Variable, variables
from vcenter_operator.discovery.settings import DiscoverySettings
from vcenter_operator.renderer.settings import RendererSettings

_PREFACE = """\
# Configuration

<!-- Written by `make docs` from the types of the settings: edit their docstrings, not this page. -->

What concerns a process is an environment variable; what concerns the region is in the Secret `vcenter-operator`. A
wrong setting ends the process with exit code 2 and one line that names the variable, and never repeats a secret.
`vcenter-operator-<stage> --help` prints the variables of its stage. `vcenter-operator run` takes those of all stages.

## The Secret `vcenter-operator`

In the operator's own namespace (the service account's; `monsoon3` outside a cluster). A change is picked up without a
restart. A key whose value cannot be what it should is refused at start with its name; later the last good Secret stays,
and the log says what is wrong. *Hidden* keys are no variables of templates.

| key | hidden | |
|---|---|---|
"""
_REST = """\
| anything else | | A variable of templates, as JSON where it parses: [Templates](templates.md#variables) |

## From elsewhere

| variable | |
|---|---|
| `KUBECONFIG` | Outside a cluster: the kubeconfig, as kubectl takes it. In a cluster the service account counts |
| `NO_COLOR` | Any text: no colours on a terminal |
| `OTEL_EXPORTER_OTLP_ENDPOINT` and others of OpenTelemetry | [Traces](tracing.md#switching-it-on) |
"""
_SECTIONS: tuple[tuple[str, str, type[Settings], type[Settings] | None], ...] = (
    ("Every stage", "", Settings, None),
    ("Renderer and applier", "What these two have to agree on.", ManifestSettings, Settings),
    ("Discovery", "", DiscoverySettings, Settings),
    ("Collector", "", CollectorSettings, Settings),
    ("Renderer", "", RendererSettings, ManifestSettings),
    ("Applier", "", ApplierSettings, ManifestSettings),
)


def page() -> str:
    """The whole page."""
    keys = "".join(f"| `{key.name}` | {'yes' if key.hidden else ''} | {key.says} |\n" for key in SECRET_KEYS)
    return _PREFACE + keys + _REST + "".join(_section(*each) for each in _SECTIONS)


def _section(title: str, preface: str, settings: type[Settings], without: type[Settings] | None) -> str:
    head = f"\n## {title}\n\n" + (f"{preface}\n\n" if preface else "")
    return head + "".join(_table(variables(settings, without=without)))


def _table(rows: Iterable[Variable]) -> Iterator[str]:
    yield "| variable | default | takes | |\n|---|---|---|---|\n"
    for row in rows:
        cells = (f"`{row.name}`", row.default if row.default == "none" else f"`{row.default}`", row.takes, row.says)
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"
