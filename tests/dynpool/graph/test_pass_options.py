"""What a traced pass needs besides an image: kept by a tree, and as JSON data."""

import json

import pytest
import torch

from dynpool.graph import described, keep_options, options_from, prepared, trace
from dynpool.resolution import ResolutionTree


def test_options_are_the_same_after_json():
    mask = torch.ones(2, 8, 9, dtype=torch.bool)
    given = (torch.ones(2, 3, 8, 9), {"mask": mask, "more": [1, 2.5, None, True, ("a", torch.ones(2).half())]})
    tree = ResolutionTree((3, 8, 9))
    keep_options(torch.nn.Identity(), tree, prepared({"inputs": given, "batch": None, "dtype": torch.uint8}, (3, 8, 9)))
    assert set(tree.pass_options) == {"inputs", "dtype"}
    back = options_from(json.loads(json.dumps({"order": "after", **described(tree.pass_options)})))
    assert (back["order"], back["dtype"]) == ("after", torch.uint8)
    image, rest = back["inputs"]
    assert (image.shape, image.dtype, image.is_meta) == ((2, 3, 8, 9), torch.float32, True)
    assert (rest["mask"].shape, rest["mask"].dtype) == ((2, 8, 9), torch.bool)
    assert rest["more"][:4] == [1, 2.5, None, True]
    assert (rest["more"][4][0], rest["more"][4][1].dtype) == ("a", torch.float16)


def test_what_json_cannot_hold_is_named_when_it_is_needed():
    tree = ResolutionTree((3, 8, 9))
    keep_options(
        torch.nn.Identity(),
        tree,
        prepared({"inputs": {"image": torch.ones(1, 3, 8, 9), "device": torch.device("cpu")}}, (3, 8, 9)),
    )
    assert tree.image_place == (None, "image")
    data = json.loads(json.dumps(described(tree.pass_options)))
    with pytest.raises(ValueError, match="an input of type device, which a file does not describe"):
        options_from(data)
    with pytest.raises(ValueError, match="the unknown dtype 'float31'"):
        options_from({"dtype": "float31"})


def test_a_comparison_with_a_larger_pass_takes_inputs_as_they_are():
    graph = trace(torch.nn.Conv2d(3, 4, 3), None, inputs=torch.ones(2, 3, 8, 9), larger=(3, 16, 18))
    assert (graph.size, graph.larger, graph.batch) == ((3, 8, 9), (3, 16, 18), 2)
