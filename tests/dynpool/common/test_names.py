"""Suggestions for mistyped names."""

from dynpool.common.names import nearest


def test_nearest():
    assert nearest("resnt50", ["resnet50", "vgg"]) == "; did you mean 'resnet50'?"
    assert nearest("resnt5", ["resnet50", "resnet51", "vgg"], most=2) == "; did you mean 'resnet51' or 'resnet50'?"
    assert nearest("epochs", ["data.epochs", "zzz"]) == "; did you mean 'data.epochs'?"
    assert nearest("x", ["aaa", "bbb"]) == "; known: aaa, bbb"
    assert nearest("x", [f"name{i}" for i in range(25)]).endswith("name19 and 5 more")
    assert nearest("x", [f"name{i}" for i in range(25)], listing="list() lists them") == "; list() lists them"
    assert nearest("x", ["aaa", "bbb"], listing="list() lists them") == "; known: aaa, bbb"


def test_dashes_and_chance_are_no_likeness():
    assert nearest("--optimizer", ["--input_size", "--lr"]) == "; known: --input_size, --lr"
    assert nearest("--input-sise", ["--out", "--input-size"]) == "; did you mean '--input-size'?"
    assert nearest("--input", ["--out", "--input-size"]) == "; did you mean '--input-size'?"
    assert nearest("rl", ["model.name", "lr"]) == "; did you mean 'lr'?"
    assert nearest("--variant", ["--data.variant", "--vary"]) == "; did you mean '--data.variant'?"
