"""A row as plain data."""

import json

from tests.analysis.representations.small import row


def test_plain_data():
    data = row("a", r_min_in=(5.0, 6.0), accuracy=0.25, relative=0.5, share=0.3).to_dict()
    assert json.loads(json.dumps(data)) == data
    assert (data["r_min_in"], data["r_min"], data["size"]) == ([5, 6], [7, 8], [6, 6])
    assert (data["probe_accuracy"], data["relative"], data["saturation"], data["directions"]) == (0.25, 0.5, 0.3, 30)
    assert data["directions_needed"] == 31


def test_what_was_not_measured_is_none():
    data = row(r_min_in=None, accuracy=None, share=None).to_dict()
    missing = {key for key, value in data.items() if value is None}
    assert missing == set(
        "r_min_in r_max_in r_min r_max_local unproductive probe_accuracy probe_error probe_converged probe_iterations "
        "relative saturation directions directions_needed".split()
    )


def test_a_layer_with_a_field_is_local():
    assert row().is_local
    assert not row(r_min_in=None).is_local
