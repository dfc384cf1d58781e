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
    other = replace(CONFIG, lr=0.2, epochs=20, data=replace(CONFIG.data, variant="tile"))
    assert changed_keys(to_dict(CONFIG), to_dict(other)) == [
        "data.variant: 'plain' -> 'tile'",
        "epochs: 16 -> 20",
        "lr: 0.1 -> 0.2",
    ]
    assert fingerprint(to_dict(CONFIG)) != fingerprint(to_dict(other))


def test_a_key_that_an_earlier_version_did_not_have_counts_as_its_default() -> None:
    old = {key: value for key, value in to_dict(CONFIG).items() if key not in ("start", "start_gmacs")}
    assert changed_keys(old, to_dict(CONFIG)) == []
    assert changed_keys(old, to_dict(replace(CONFIG, start="random"))) == ["start: 'designed' -> 'random'"]


def test_more_epochs_are_no_change_where_the_learning_rate_is_constant() -> None:
    constant = replace(CONFIG, scheduler="constant")
    assert changed_keys(to_dict(constant), to_dict(replace(constant, epochs=99))) == []
    assert changed_keys(to_dict(constant), to_dict(replace(constant, epochs=1))) == ["epochs: 16 -> 1"]
    assert changed_keys(to_dict(CONFIG), to_dict(replace(CONFIG, epochs=99))) == ["epochs: 16 -> 99"]
