"""I_min tracked inside the real Lightning, imported as `pytorch_lightning`."""

import pytest

from tests.analysis.integrations.trained import assert_lightning_logs


def test_every_epoch_is_logged_and_drawn(network, batch, tmp_path, read_log):
    pl = pytest.importorskip("pytorch_lightning")
    pytest.importorskip("pytorch_lightning.loggers")
    from dynpool.analysis.integrations.pytorch_lightning import IMinCallback

    assert_lightning_logs(pl, IMinCallback, network, batch, tmp_path, read_log)
