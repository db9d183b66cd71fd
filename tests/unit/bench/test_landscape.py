"""The benchmarks' made-up region: what its sizes claim, and that both sides of a comparison write the same."""

from __future__ import annotations

import pytest

from bench import apply, scale
from bench.landscape import inventory, seven_templates
from bench.statements import stated
from vcenter_operator.common import labels


async def test_seven_templates_yield_seven_objects_for_a_cluster_each_named_for_it() -> None:
    made = await stated("own", range(4))

    indices = [delta.index for delta in made.first]
    assert [len(index) for index in indices] == [140] * 4
    assert len({object_id for index in indices for object_id in index}) == 4 * 140
    assert {object_id.namespace for object_id in indices[0]} == {"own"}


async def test_an_edit_of_all_templates_changes_every_object() -> None:
    made = await stated("own", [0])

    (first,), (edited,) = made.first, made.edited
    assert edited.manifests.keys() == first.manifests.keys() == first.index.keys()
    assert first.provenance.older_than(edited.provenance)
    assert all(first.index[one].digest != edited.index[one].digest for one in first.index)


async def test_what_the_bare_loop_writes_has_all_that_the_applier_adds() -> None:
    made = await stated("own", [0])

    for manifest in made.manifests(made.first):
        assert manifest["metadata"]["annotations"].keys() >= {labels.DIGEST, labels.REVISION, labels.VCENTER}
        assert labels.PART_OF in manifest["metadata"]["labels"]


def test_a_changed_cluster_is_the_only_difference() -> None:
    before, after = inventory(7), inventory(7, edition=2, changed=1)

    assert [mine != theirs for mine, theirs in zip(before.clusters, after.clusters, strict=True)] == [True] + [
        False
    ] * 19
    assert before.older_than(after)


def test_one_edited_template_is_one_that_no_other_renders() -> None:
    changed = [
        after["metadata"]["name"]
        for before, after in zip(seven_templates(), seven_templates(edited=1), strict=True)
        if before != after
    ]

    assert changed == ["cinder-volume"]


def test_a_ratio_says_how_many_times_as_fast_ours_is_round_by_round() -> None:
    assert apply.ratio([2.0, 1.0, 9.0], [4.0, 8.0, 3.0]) == pytest.approx(2.0)


def test_growth_is_from_the_first_to_the_last() -> None:
    assert scale.grown([2.0, 5.0, 20.0]) == pytest.approx(10.0)
