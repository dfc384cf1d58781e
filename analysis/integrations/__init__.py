"""I_min in the training loops of other libraries, and models of other libraries. Most modules need an extra package.

dynpool.analysis.integrations.lightning           callback for `lightning` (extra: lightning)
dynpool.analysis.integrations.pytorch_lightning   callback for `pytorch_lightning` (extra: lightning)
dynpool.analysis.integrations.transformers        callback for Hugging Face's Trainer (extra: transformers)
dynpool.analysis.integrations.accelerate          for loops written with accelerate, which dynpool itself requires
dynpool.analysis.integrations.tensorboard         scalars for any SummaryWriter (extra: tensorboard)
dynpool.analysis.integrations.keras               models of Keras 3 on its torch backend (extra: keras)
"""

from .named_models import error_summary, imported_object, named_model

__all__ = ["error_summary", "imported_object", "named_model"]
