"""TensorFlow, imported without the lines that it writes to stderr while it loads.

TensorFlow writes them before it reads TF_CPP_MIN_LOG_LEVEL, so no environment variable can prevent them.
"""

import os

from styling.system.process import silent_stderr

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with silent_stderr():
    import tensorflow as tf

__all__ = ["tf"]
