"""What the renderer counts besides what every stage does; `docs/metrics.md` has the table."""

from __future__ import annotations

from collections import Counter as Count
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import Counter, Histogram

from vcenter_operator.common.metrics import REQUEST_SECONDS, LiveGauge, Values
from vcenter_operator.renderer.core.rendering import Rendered
from vcenter_operator.renderer.core.templates import Template

RENDERINGS = Counter("vcenter_operator_renderings_total", "Templates that were rendered for one unit", ["outcome"])
for _outcome in ("ok", "failed", "passing"):
    RENDERINGS.labels(_outcome)
RENDERING = Histogram(
    "vcenter_operator_rendering_seconds",
    "Everything that was to be rendered for one vCenter at a time",
    buckets=REQUEST_SECONDS,
)
FAILURES = LiveGauge(
    "vcenter_operator_template_failures", "Templates and units that cannot be rendered now", ["vcenter"]
)
TEMPLATES = LiveGauge("vcenter_operator_templates", "Templates that the replica knows", ["state"])
HINDERED = LiveGauge("vcenter_operator_rendering_hindered", "1: nothing at all can be rendered; 0: it can")


def rendered(results: Iterable[Rendered]) -> None:
    """Counts what came of renderings."""
    for result in results:
        failure = result.failure
        RENDERINGS.labels("ok" if failure is None else "passing" if failure.passing else "failed").inc()


@contextmanager
def shown(
    failures: Callable[[], Mapping[str, int]], templates: Callable[[], Iterable[Template]], hindered: Callable[[], bool]
) -> Iterator[None]:
    """Serves inside the `with` block how many templates and units fail, by vCenter, and how the templates are."""

    def states() -> Values:
        count = Count(
            "unusable" if each.problem is not None else "usable" if each.rendered else "library" for each in templates()
        )
        return [((state,), count[state]) for state in ("usable", "unusable", "library")]

    with (
        FAILURES.of(lambda: [((host,), count) for host, count in failures().items()]),
        TEMPLATES.of(states),
        HINDERED.of(lambda: [((), hindered())]),
    ):
        yield
