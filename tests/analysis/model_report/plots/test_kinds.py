"""Unknown plots, layers and images are named."""

import numpy as np
import pytest


def test_bad_pictures(tmp_path, vgg, one_axis):
    with pytest.raises(ValueError, match="unknown plot kind 'feilds'; did you mean 'fields'"):
        vgg.plot("feilds")
    with pytest.raises(ValueError, match="unknown plot kind 3; known: fields, network, image"):
        vgg.plot(3)
    with pytest.raises(TypeError, match=r"layers must be a list of names, got 'features\.0'"):
        vgg.plot("image", layers="features.0")
    with pytest.raises(TypeError, match="a plot of kind 'fields' has no option 'layers'; it has none"):
        vgg.plot("fields", layers=["features.0"])
    with pytest.raises(TypeError, match="a plot of kind 'image' has no option 'layer'; it has layers, image"):
        vgg.plot("image", layer="features.0")
    with pytest.raises(ValueError, match=r"layers has 'features\.99': the model has no such layer; did you mean"):
        vgg.plot("image", layers=["features.99"])
    with pytest.raises(ValueError, match="layers must name one to 6 layers, got 7"):
        vgg.plot("image", layers=[row.name for row in vgg.layers[:7]])
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"text\.png', which cannot be read"):
        vgg.plot("image", image=tmp_path / "text.png")
    with pytest.raises(ValueError, match=r"image must have the shape .* got \(3, 4, 5\)"):
        vgg.plot("image", image=np.zeros((3, 4, 5)))
    with pytest.raises(ValueError, match="drawn on an image for 2 spatial axes only, this model has 1"):
        one_axis.plot("image")
