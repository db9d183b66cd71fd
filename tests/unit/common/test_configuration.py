"""The Secret is checked at the start; an error names the key and what to do, and never a value."""

from __future__ import annotations

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcenter_operator.common.configuration import Configuration
from vcenter_operator.common.errors import ConfigurationError
from vcenter_operator.common.identity import ObjectId

KEY = base64.b64encode(b"k" * 32).decode()
VALID = {"username": "operator", "password": "s3cret", "namespace": "openstack", "bus_key": KEY}


def test_a_valid_secret() -> None:
    config = Configuration.parse({**VALID, "dns_port": " 53 ", "tsig_key": "", "dns_ip": "10.0.0.1"}, version=7)
    assert (config.username, config.namespace, config.version) == ("operator", "openstack", 7)
    assert (config.dns_ip, config.dns_port, config.tsig_key) == ("10.0.0.1", 53, None)
    assert len(config.password_for("vc-a-0.cc.qa-de-1.cloud.sap")) == 14
    assert config.password_for("vc-a-0.x") != config.password_for("vc-a-0.x", "another")


@pytest.mark.parametrize("keyed", [{}, {"bus_key": KEY}], ids=["without a bus_key", "with a bus_key"])
def test_credentials_are_told_from_others_by_a_digest_under_a_key(keyed: dict[str, str]) -> None:
    values = {"username": "operator", "password": "s3cret", **keyed}
    digest = Configuration.parse(values, 1).digest_of("derived")
    assert Configuration.parse({**values, "another": "key"}, 2).digest_of("derived") == digest
    others = [
        Configuration.parse(values).digest_of("derived too"),
        Configuration.parse({**values, "username": "other"}).digest_of("derived"),
        Configuration.parse({**values, "bus_key": base64.b64encode(b"j" * 32).decode()}).digest_of("derived"),
    ]
    assert len({digest, *others}) == 4


def test_a_json_string_stands_for_its_content() -> None:
    """As in the deployed operator, whose Secrets have to work here; the password is taken as it stands."""
    quoted = {"namespace": '"openstack"', "dns_ip": '"10.0.0.1"\n', "dns_port": '"5354"', "tsig_key": '"a2V5"'}
    config = Configuration.parse({**VALID, **quoted})
    assert (config.namespace, config.dns_ip, config.dns_port) == ("openstack", "10.0.0.1", 5354)
    assert config.tsig_key == "a2V5"
    plain = Configuration.parse({**VALID, "namespace": "openstack\n", "dns_ip": "10.0.0.1\n", "tsig_key": "1234"})
    assert (plain.namespace, plain.dns_ip, plain.tsig_key) == ("openstack", "10.0.0.1", "1234")
    other = Configuration.parse({**VALID, "dns_ip": "FD00::53", "bus_url": "amqps://u:p@h:5671/v\n"})
    assert (other.dns_ip, other.bus_url) == ("fd00::53", "amqps://u:p@h:5671/v")
    assert (plain.bus_url, Configuration.parse({**VALID, "bus_url": " "}).bus_url) == (None, None)
    assert plain.password_for("h") != Configuration.parse({**VALID, "password": '"s3cret"'}).password_for("h")


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("username", None, "'username' is missing or empty"),
        ("password", " \n", "'password' is missing or empty"),
        ("dns_port", "0", "'dns_port' is not a port number"),
        ("dns_port", "65536", "'dns_port' is not a port number"),
        ("dns_port", "", "'dns_port' is not a port number"),
        ("dns_port", "\uff15\uff13", "'dns_port' is not a port number"),
        ("dns_port", "9" * 5000, "'dns_port' is not a port number"),
        ("namespace", "", "'namespace' is missing or empty"),
        ("namespace", '" "', "'namespace' is not the name of a namespace"),
        ("namespace", "my_s3cret", "'namespace' is not the name of a namespace"),
        ("dns_ip", "s3cret.example.org", "'dns_ip' is not an IP address"),
        ("dns_ip", "10.0.0", "'dns_ip' is not an IP address"),
        ("tsig_key", "s3cret!", "'tsig_key' is not base64"),
        ("tsig_key", "a2V5=a", "'tsig_key' is not base64"),
        ("bus_url", "s3cret", "'bus_url' is not amqp://"),
        ("bus_url", "http://u:s3cret@host/", "'bus_url' is not amqp://"),
        ("bus_url", "amqp:///s3cret", "'bus_url' is not amqp://"),
        ("bus_url", "amqp://u:s3#cret@host/", "'bus_url' is not amqp://"),
        ("bus_url", "amqps://host:s3cret/", "'bus_url' is not amqp://"),
        ("bus_key", "", "'bus_key' is missing or empty"),
        ("bus_key", "s3cret-but-not-base64!", "'bus_key' is not base64 of at least 16 random bytes"),
        ("bus_key", base64.b64encode(b"short").decode(), "'bus_key' is not base64 of at least 16 random bytes"),
        ("bus_key_previous", "s3cret", "'bus_key_previous' is not base64 of at least 16"),
        ("manage_service_user_passwords", "true", "'manage_service_user_passwords' service users managed in Vault"),
    ],
)
def test_an_invalid_key_is_named(key: str, value: str | None, says: str) -> None:
    values = {**VALID, key: value} if value is not None else {k: v for k, v in VALID.items() if k != key}
    with pytest.raises(ConfigurationError, match=says) as raised:
        Configuration.parse(values)
    assert "s3cret" not in str(raised.value)


def test_what_logs_on_to_no_vcenter_needs_no_account_and_a_problem_names_the_secret() -> None:
    own = {"bus_key": VALID["bus_key"]}
    assert Configuration.parse(own, required=()).keyring
    with pytest.raises(ConfigurationError, match=r"^Secret vcenter-operator-applier: key 'bus_key' is missing"):
        _ = Configuration.parse({}, name="vcenter-operator-applier", required=()).keyring


@given(
    st.dictionaries(
        st.sampled_from([*VALID, "dns_ip", "dns_port", "tsig_key", "bus_key_previous", "bus_url", "pbm_enabled", "x"]),
        st.text(),
    )
)
def test_whatever_the_secret_has_it_is_valid_or_named(values: dict[str, str]) -> None:
    with suppress(ConfigurationError):
        assert Configuration.parse(values).username.strip()


def test_templates_see_json_but_none_of_our_secrets() -> None:
    config = Configuration.parse(
        {**VALID, "username": "007", "tsig_key": "dDp0", "bus_url": "amqp://u:p@h/", "role_id": "r",
         "secret_id": "s", "ad_ttu_password": "p", "count": "3", "list": '["a", 1]',
         "word": "true", "text": "not json", "deep": "[" * 100_000,
         "deeper": "[" * 600 + "]" * 600}
    )  # fmt: skip
    variables = config.template_variables
    assert variables == {
        "username": "007",
        "namespace": "openstack",
        "count": 3,
        "list": ["a", 1],
        "word": True,
        "text": "not json",
        "deep": "[" * 100_000,
        "deeper": "[" * 600 + "]" * 600,
    }


def test_pbm_is_enabled_by_the_json_string_alone() -> None:
    enabled = {'"true"': True, "true": False, "True": False, '"True"': False, "1": False}
    assert {text: Configuration.parse({**VALID, "pbm_enabled": text}).pbm_enabled for text in enabled} == enabled
    assert not Configuration.parse(VALID).pbm_enabled


def test_both_keys_of_a_rotation_open() -> None:
    before = Configuration.parse(VALID).keyring
    newer = {**VALID, "bus_key": base64.b64encode(b"n" * 32).decode(), "bus_key_previous": KEY}
    object_id = ObjectId("", "Secret", "ns", "a")
    sealed = before.seal("h", object_id, "d", {"a": 1})
    assert Configuration.parse(newer).keyring.open("h", object_id, "d", sealed) == {"a": 1}


def test_its_text_has_no_values() -> None:
    assert "s3cret" not in repr(Configuration.parse(VALID))


PRINT = ":".join(["AB"] * 32)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (f'{{"vc-a-0.example.org": "{PRINT}"}}', {"vc-a-0.example.org": {"ab" * 32}}),
        (f'{{"VC-A-0.example.org.": ["{PRINT}", "{"0f" * 32}"]}}', {"vc-a-0.example.org": {"ab" * 32, "0f" * 32}}),
        ("{}", {}),
        ("", {}),
    ],
)
def test_thumbprints_are_taken_as_operators_write_them(value: str, expected: object) -> None:
    configuration = Configuration.parse({"username": "u", "password": "p", "vcenter_thumbprints": value})
    assert configuration.vcenter_thumbprints == expected
    assert "vcenter_thumbprints" in configuration.template_variables, "they are public"


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (PRINT, "object"),
        ('["x"]', "object"),
        (f'{{"vc-a-0": "{PRINT[:-1]}"}}', "vc-a-0"),
        ('{"vc-a-0": "AB:CD"}', "vc-a-0"),
        ('{"vc-a-0": []}', "vc-a-0"),
        ('{"vc-a-0": [1]}', "vc-a-0"),
        ('{"vc-a-0": null}', "vc-a-0"),
    ],
)
def test_a_wrong_thumbprint_is_refused_by_key_and_vcenter(value: str, named: str) -> None:
    with pytest.raises(ConfigurationError, match=f"vcenter_thumbprints.*{named}"):
        Configuration.parse({"username": "u", "password": "p", "vcenter_thumbprints": value})
