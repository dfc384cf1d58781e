"""Standard JSON: any parser reads what is written."""

import json
import math

from dynpool.analysis.common.json_text import strict_json


def test_strict_json_has_no_infinity_literals():
    text = strict_json({"a": [math.inf, -math.inf, 1.5], "b": {"c": math.nan}, "d": (True, None)})

    def refuse(constant):
        raise AssertionError(constant)

    read = json.loads(text, parse_constant=refuse)
    assert read == {"a": ["inf", "-inf", 1.5], "b": {"c": "nan"}, "d": [True, None]}


def test_a_line_is_a_line():
    assert strict_json({"a": [1, math.nan]}, indent=None) == '{"a": [1, "nan"]}\n'
