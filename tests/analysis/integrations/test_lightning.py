"""I_min tracked inside the real Lightning, imported as `lightning.pytorch`."""

import pytest

from tests.analysis.integrations.trained import assert_lightning_logs


def test_every_epoch_is_logged_and_drawn(network, batch, tmp_path, read_log):
    pl = pytest.importorskip("lightning.pytorch")
    pytest.importorskip("lightning.pytorch.loggers")
    from dynpool.analysis.integrations.lightning import IMinCallback

    assert_lightning_logs(pl, IMinCallback, network, batch, tmp_path, read_log)
