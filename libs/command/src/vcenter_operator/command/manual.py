"""What `--help` says below the options: examples, and where settings come from."""

from __future__ import annotations

_ENVIRONMENT = (
    "Environment: `KUBECONFIG` and the settings of the stages, `VCENTER_OPERATOR_*`, of which `VCENTER_OPERATOR_BUS` "
    "is where RabbitMQ is; `vcenter-operator-<stage> --help` lists them."
)
_OFFLINE = (
    "Environment: the settings of the stages, `VCENTER_OPERATOR_*`, as far as they steer what is done; no server is "
    "asked."
)
_SERVES = (
    "Exit codes: 0 it was stopped as told; 1 it failed, see the log; 2 a setting, the Secret or the command line is "
    "wrong."
)

_FILES = "--site examples/site/site.yaml --templates examples/site/manifests"

EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "run": (
        ("run --dry-run", "on the region of the kubeconfig, changing nothing"),
        (f"run {_FILES} --output build/region", "on files"),
        ("run --bus amqp://guest:guest@localhost/", "over a RabbitMQ, as separate stages would"),
    ),
    "discovery": (("discovery --bus amqps://rabbitmq.example.org/", "over that RabbitMQ"),),
    "collector": (("collector --bus amqps://rabbitmq.example.org/", "over that RabbitMQ"),),
    "renderer": (("renderer --bus amqps://rabbitmq.example.org/", "over that RabbitMQ"),),
    "applier": (
        ("applier --bus amqps://rabbitmq.example.org/", "over that RabbitMQ"),
        ("applier --dry-run", "plans and asks the API server, and changes nothing"),
    ),
    "render": (
        (f"render {_FILES}", "every manifest, to standard output"),
        (f"render {_FILES} --output build/rendered", "a file for each, to compare two versions of a template"),
    ),
    "status": (
        ("status --watch", "the whole region, drawn anew every two seconds"),
        ("status --vcenter vc-a-0", "one vCenter, with every condition in full"),
        ("status --output json", "for scripts"),
    ),
    "diff": (
        ("diff", "the whole region"),
        ("diff --vcenter vc-a-0 --template nova-compute", "what an edit of one template does to one vCenter"),
        (f"diff {_FILES} --output build/region", "on files, against what `run` wrote"),
    ),
    "approve": (
        ("approve vc-a-0", "shows what is held, and asks"),
        ("approve vc-a-0 --plan 3f9a07c2d1b4 --yes", "that plan alone, without a question"),
    ),
    "leftovers": (("leftovers --namespace monsoon3", "there as well as where templates are"),),
    "topology definitions": (
        ("topology definitions", "to be piped into a file for `rabbitmqctl import_definitions`"),
        ("topology definitions --vhost openstack", "for another virtual host"),
    ),
    "topology remove": (("topology remove 1", "when every stage works with generation 2"),),
    "messages list": (
        ("messages list", "the last hour"),
        ("messages list --vcenter vc-a-0 --since 1d --stage applier", "what the applier was told of one vCenter"),
    ),
    "messages show": (("messages show 2c8f393c --manifests", "one message, with its manifests (masked)"),),
    "messages trace": (("messages trace vc-a-0", "why the objects of a vCenter are as they are"),),
    "messages diff": (("messages diff 72b4c4fc 1f08ae55", "two inventories of one vCenter, say"),),
    "messages export": (
        ("messages export incident.json --trace vc-a-0 --with-templates", "for a colleague, who can render from it"),
    ),
    "messages import": (
        ("messages import incident.json", "what is in the file"),
        ("messages import incident.json laptop", "and unpacks the templates"),
    ),
    "messages replay": (
        ("messages replay vc-a-0 --through renderer --through applier", "renders and plans again, dry"),
        ("messages replay --from incident.json --embedded", "on a laptop, without a region"),
    ),
    "messages resync": (("messages resync vc-a-0", "for real: every stage says again what it knows"),),
    "messages parked list": (("messages parked list --stage applier", "what the applier put aside"),),
    "messages parked show": (("messages parked show 2c8f393c", "why, and after how many attempts"),),
    "messages parked retry": (("messages parked retry 2c8f393c", "for real: once the cause is mended"),),
    "messages parked drop": (("messages parked drop 2c8f393c 1f08ae55", "for real: throws both away"),),
}
"""Command to its examples: what follows `vcenter-operator `, and what it is for. Tests parse each."""


def epilog(command: str, *, serves: bool = False, offline: bool = False) -> str:
    """For the command of that name; `serves`: it runs until it is stopped, `offline`: on files alone."""
    examples = "\n".join(f"- `vcenter-operator {line}`: {purpose}" for line, purpose in EXAMPLES[command])
    paragraphs = [*([_SERVES] if serves else []), _OFFLINE if offline else _ENVIRONMENT, "Examples:", examples]
    return "\n\n".join(paragraphs)
