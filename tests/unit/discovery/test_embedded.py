"""The zone of a site file: a zone file that is edited while it is watched, or the vCenters that the site lists."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.fakes.discovery import Scene, becomes
from vcenter_operator.common.embedded.site import Site
from vcenter_operator.discovery.adapters.embedded import SiteZone
from vcenter_operator.discovery.core.zone import vcenters
from vcenter_operator.discovery.ports import ZoneUnavailable

DOMAIN = "cc.qa-de-1.cloud.sap"
EXAMPLE = Path(__file__).parents[3] / "examples" / "site"
HEAD = "$TTL 300\n@ IN SOA ns hostmaster ( {serial} 3600 600 86400 300 )\n@ IN NS ns\nns IN A 192.0.2.53\n"


def write_site(path: Path, text: str) -> None:
    path.write_text(f"region: qa-de-1\ndomain: {DOMAIN}\nnamespace: monsoon3\n{text}")


def zone_text(serial: int, *records: str) -> str:
    return HEAD.format(serial=serial) + "".join(f"{record}\n" for record in records)


@asynccontextmanager
async def watched(site: Path) -> AsyncIterator[SiteZone]:
    async with Site(site) as opened:
        zone = SiteZone(opened, DOMAIN)
        task = asyncio.create_task(zone.run())
        yield zone
        assert not task.done()
        task.cancel()
        await asyncio.wait([task])


async def hosts(zone: SiteZone) -> dict[str, tuple[str, ...]]:
    return {host.split(".")[0]: found for host, found in vcenters((await zone.transfer()).names, DOMAIN).items()}


async def test_the_example(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE, tmp_path / "site")
    async with watched(tmp_path / "site" / "site.yaml") as zone:
        assert (await zone.version()).serial > 2_026_000_000
        assert await hosts(zone) == {"vc-a-0": ("192.0.2.10",), "vc-b-0": ("192.0.2.20",), "vc-c-0": ("192.0.2.30",)}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = tmp_path / "site.yaml"
    write_site(path, "zone: the.zone\n")
    return path


async def test_an_edited_zone_file_is_told_and_read(site: Path, tmp_path: Path) -> None:
    file = tmp_path / "the.zone"
    file.write_text(zone_text(1, "vc-a-0 A 10.0.0.1"))
    async with watched(site) as zone:
        assert await hosts(zone) == {"vc-a-0": ("10.0.0.1",)}
        await asyncio.wait_for(zone.changed(), 5)
        file.write_text(zone_text(2, "vc-a-0 A 10.0.0.1", "VC-B-0 AAAA 2001:DB8:0::1"))
        async with asyncio.timeout(5):
            while (await zone.version()).serial != 2:
                await zone.changed()
        assert await hosts(zone) == {"vc-a-0": ("10.0.0.1",), "vc-b-0": ("2001:db8::1",)}


async def test_a_change_without_a_new_serial_is_warned_of_and_does_not_count(site: Path, tmp_path: Path) -> None:
    file = tmp_path / "the.zone"
    file.write_text(zone_text(1, "vc-a-0 A 10.0.0.1"))
    async with watched(site) as zone:
        await zone.version()
        file.write_text(zone_text(1, "vc-bb-0 A 10.0.0.2"))
        with capture_logs() as logs:
            assert set(await hosts(zone)) == {"vc-a-0"}
            assert set(await hosts(zone)) == {"vc-a-0"}
        assert [entry["serial"] for entry in logs if "not its serial" in entry["event"]] == [1]
        file.write_text(zone_text(2, "vc-bb-0 A 10.0.0.2"))
        assert set(await hosts(zone)) == {"vc-bb-0"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("this is no zone file", "the.zone"),
        ("$TTL 300\n@ NS ns\nns A 192.0.2.53\n", "no SOA record"),
        ("$TTL 300\n@ IN SOA ns hostmaster ( 3 3600 600 86400 300 )\n", "no NS record"),
        ("", "no SOA record"),
        (None, "No such file"),
        ("@ IN SOA ns \udcff", "the.zone"),
    ],
)
async def test_a_broken_zone_file_is_an_error_and_a_mended_one_is_read(
    site: Path, tmp_path: Path, text: str | None, said: str
) -> None:
    file = tmp_path / "the.zone"
    if text is not None:
        file.write_text(text, errors="surrogateescape")
    async with watched(site) as zone:
        with pytest.raises(ZoneUnavailable, match=said) as caught:
            await zone.version()
        assert caught.value.reason == "ZoneFileUnreadable"
        file.write_text(zone_text(1, "vc-a-0 A 10.0.0.1"))
        assert set(await hosts(zone)) == {"vc-a-0"}


async def test_without_a_zone_file_what_the_site_lists_is_the_zone(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    write_site(path, "vcenters:\n  vc-a-0: {}\n  vc-b-0: {}\n")
    async with watched(path) as zone:
        first = await zone.version()
        assert await hosts(zone) == {"vc-a-0": (), "vc-b-0": ()}
        assert await zone.version() == first
        write_site(path, "vcenters:\n  vc-b-0: {}\n")
        async with asyncio.timeout(5):
            while await zone.version() == first:
                await zone.changed()
        assert set(await hosts(zone)) == {"vc-b-0"}


async def test_a_site_that_turns_to_another_zone_file(site: Path, tmp_path: Path) -> None:
    (tmp_path / "the.zone").write_text(zone_text(5, "vc-a-0 A 10.0.0.1"))
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "the.zone"
    other.write_text(zone_text(5, "vc-b-0 A 10.0.0.2"))
    async with watched(site) as zone:
        first = await zone.version()
        write_site(site, "zone: other/the.zone\n")
        async with asyncio.timeout(5):
            while await zone.version() == first:
                await zone.changed()
            assert set(await hosts(zone)) == {"vc-b-0"}
            await zone.changed()
            other.write_text(zone_text(6, "vc-c-0 A 10.0.0.3"))
            while (await zone.version()).serial != 6:
                await zone.changed()


async def test_the_whole_discovery_on_files(scene: Scene, site: Path, tmp_path: Path) -> None:
    scene.settings = scene.settings.model_copy(update={"dns_poll_every": 3600.0})
    file = tmp_path / "the.zone"
    file.write_text(zone_text(1, "vc-a-0 A 10.0.0.1"))
    async with watched(site) as zone:
        scene.use(zone)
        with capture_logs() as logs:
            async with scene.discovery():
                await becomes(lambda: scene.told() == {"vc-a-0": True}, "stated")
                file.write_text("half a file")
                await becomes(lambda: any("cannot be read" in entry["event"] for entry in logs), "the trouble noticed")
                file.write_text(zone_text(2, "vc-a-0 A 10.0.0.1", "vc-b-0 A 10.0.0.2"))
                await becomes(lambda: scene.told() == {"vc-a-0": True, "vc-b-0": True}, "the newcomer stated")
