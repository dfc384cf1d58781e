"""I_min in other people's training loops, and models of other libraries. Each module needs its own optional package.

analysis.integrations.lightning           callback for `lightning` (extra: lightning)
analysis.integrations.pytorch_lightning   the same for `pytorch_lightning` (extra: lightning)
analysis.integrations.transformers        callback for Hugging Face's Trainer (extra: transformers)
analysis.integrations.accelerate          for loops written with accelerate, which dynpool itself needs
analysis.integrations.tensorboard         scalars for any SummaryWriter (extra: tensorboard)
analysis.integrations.keras               models of Keras 3 on its torch backend (extra: keras)
"""

__all__: list[str] = []
