"""I_min in other people's training loops, and models of other libraries. Each module needs its own optional package.

dynpool.analysis.integrations.lightning           callback for `lightning` (extra: lightning)
dynpool.analysis.integrations.pytorch_lightning   the same for `pytorch_lightning` (extra: lightning)
dynpool.analysis.integrations.transformers        callback for Hugging Face's Trainer (extra: transformers)
dynpool.analysis.integrations.accelerate          for loops written with accelerate, which dynpool itself needs
dynpool.analysis.integrations.tensorboard         scalars for any SummaryWriter (extra: tensorboard)
dynpool.analysis.integrations.keras               models of Keras 3 on its torch backend (extra: keras)
"""

__all__: list[str] = []
