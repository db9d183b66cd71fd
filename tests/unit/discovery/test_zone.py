"""Which names of a zone are vCenters, and what their addresses are."""

import pytest

from vcenter_operator.discovery.core.zone import Entry, vcenters

DOMAIN = "cc.qa-de-1.cloud.sap"


def found(names: dict[str, Entry]) -> dict[str, tuple[str, ...]]:
    return vcenters({f"{name}.{DOMAIN}": entry for name, entry in names.items()}, DOMAIN)


def test_host_is_the_name_in_the_domain_with_sorted_addresses() -> None:
    assert found({"vc-a-0": Entry(("10.0.0.2", "10.0.0.1", "2001:db8::1"))}) == {
        f"vc-a-0.{DOMAIN}": ("10.0.0.1", "10.0.0.2", "2001:db8::1")
    }


@pytest.mark.parametrize("label", ["vc-a-0", "vc-abc-12345", "vc-a-00"])
def test_names_within_the_convention(label: str) -> None:
    assert list(found({label: Entry(("10.0.0.1",))})) == [f"{label}.{DOMAIN}"]


@pytest.mark.parametrize(
    "label",
    [
        "vc-a",
        "vc-a-",
        "vc--0",
        "vc-a1-0",
        "vc-a-0x",
        "xvc-a-0",
        "vc-a-0\n",
        "vc-a-٣",
        "vca-0",
        "vc-a-0.sub",
        "sub.vc-a-0x",
    ],
)
def test_names_outside_the_convention(label: str) -> None:
    assert found({label: Entry(("10.0.0.1",))}) == {}


def test_only_directly_under_the_domain() -> None:
    names = {
        f"vc-a-0.esx.{DOMAIN}": Entry(("10.0.0.1",)),
        "vc-a-0.elsewhere.example": Entry(("10.0.0.1",)),
        f"vc-a-0x{DOMAIN}": Entry(("10.0.0.1",)),
        DOMAIN: Entry(("10.0.0.1",)),
    }
    assert vcenters(names, DOMAIN) == {}


def test_alias_is_followed_inside_the_zone() -> None:
    names = {
        "vc-a-0": Entry(alias=f"esx.{DOMAIN}"),
        "esx": Entry(alias=f"rack.dc.{DOMAIN}"),
        "rack.dc": Entry(("10.0.0.1",)),
    }
    assert found(names) == {f"vc-a-0.{DOMAIN}": ("10.0.0.1",)}


@pytest.mark.parametrize("target", ["vc.elsewhere.example", f"missing.{DOMAIN}", f"vc-a-0.{DOMAIN}", f"loop.{DOMAIN}"])
def test_alias_out_of_the_zone_nowhere_or_in_a_circle_is_a_vcenter_without_addresses(target: str) -> None:
    names = {"vc-a-0": Entry(alias=target), "loop": Entry(alias=f"vc-a-0.{DOMAIN}")}
    assert found(names) == {f"vc-a-0.{DOMAIN}": ()}
