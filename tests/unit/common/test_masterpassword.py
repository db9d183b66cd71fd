"""The Master Password algorithm gives what every other implementation of it gives."""

from __future__ import annotations

import time

from vcenter_operator.common.masterpassword import derive_password, site_password, user_key


def test_the_known_answer() -> None:
    assert (
        derive_password("Robert Lee Mitchell", "banana colored duckling", "masterpasswordapp.com") == "Jejr5[RepuSosp"
    )


def test_names_are_counted_in_bytes() -> None:
    """Version 3 of the algorithm: the known answer of its reference tests for a name and a site beyond ASCII."""
    assert derive_password("⛄", "banana colored duckling", "masterpasswordapp.com") == "NopaDajh8=Fene"
    assert site_password(user_key("Robert Lee Mitchell", "banana colored duckling"), "⛄") == "LiheCuwhSerz6)"


def test_every_part_counts() -> None:
    key = user_key("Robert Lee Mitchell", "banana colored duckling")
    known = site_password(key, "masterpasswordapp.com")
    assert site_password(key, "masterpasswordapp.com", counter=2) != known
    assert site_password(key, "masterpasswordapp.org") != known
    assert derive_password("Robert Lee Mitchel", "banana colored duckling", "masterpasswordapp.com") != known


def test_the_users_key_is_derived_once() -> None:
    user_key("somebody", "secret")
    began = time.process_time()
    for number in range(100):
        derive_password("somebody", "secret", f"vc-a-{number}.cc.qa-de-1.cloud.sap")
    assert time.process_time() - began < 0.1
