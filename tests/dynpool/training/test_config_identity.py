"""Two configurations are the same if they compute the same, wherever and however they run."""

from dataclasses import replace

from dynpool.training.config import RunConfig
from dynpool.training.config_identity import changed_keys, fingerprint, to_dict

CONFIG = RunConfig()


def test_where_and_how_a_run_runs_is_no_change() -> None:
    moved = replace(CONFIG, name="other", out="elsewhere", threads=3, device="cpu", checkpoint_every=2)
    assert changed_keys(to_dict(CONFIG), to_dict(moved)) == []
    assert fingerprint(to_dict(CONFIG)) == fingerprint(to_dict(moved))


def test_what_changes_the_numbers_is_named() -> None:
    other = replace(CONFIG, lr=0.2, data=replace(CONFIG.data, variant="tile"))
    assert changed_keys(to_dict(CONFIG), to_dict(other)) == ["data.variant: 'plain' -> 'tile'", "lr: 0.1 -> 0.2"]
    assert fingerprint(to_dict(CONFIG)) != fingerprint(to_dict(other))


def test_more_epochs_are_no_change_where_the_learning_rate_is_constant() -> None:
    constant = replace(CONFIG, scheduler="constant")
    assert changed_keys(to_dict(constant), to_dict(replace(constant, epochs=99))) == []
    assert changed_keys(to_dict(constant), to_dict(replace(constant, epochs=1))) == ["epochs: 16 -> 1"]
    assert changed_keys(to_dict(CONFIG), to_dict(replace(CONFIG, epochs=99))) == ["epochs: 16 -> 99"]


def test_changed_keys_and_fingerprint():
    old = to_dict(RunConfig())
    moved = to_dict(RunConfig(out="elsewhere", name="x", device="cpu", checkpoint_every=3))
    assert changed_keys(old, moved) == []
    assert fingerprint(old) == fingerprint(moved)
    other = to_dict(RunConfig(lr=0.2, epochs=20))
    assert changed_keys(old, other) == ["epochs: 16 -> 20", "lr: 0.1 -> 0.2"]
    assert fingerprint(old) != fingerprint(other)


def test_epochs_may_grow_where_the_rate_does_not_depend_on_them():
    few, many = (to_dict(RunConfig(scheduler="constant", epochs=n)) for n in (2, 4))
    assert changed_keys(few, many) == []
    assert changed_keys(many, few) == ["epochs: 4 -> 2"]
