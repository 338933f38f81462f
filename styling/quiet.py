"""TensorFlow, imported without the lines that it writes to stderr while it loads.

They come before it looks at TF_CPP_MIN_LOG_LEVEL, so that no variable keeps them back.
"""

import os

from styling.process import silent_stderr

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with silent_stderr():
    import tensorflow as tf

__all__ = ["tf"]
