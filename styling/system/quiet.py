"""TensorFlow, imported without the lines that it writes to stderr while it loads, and without Keras.

Importing this raises MemoryLimitError if there is not enough memory for TensorFlow.
TensorFlow writes them before it reads TF_CPP_MIN_LOG_LEVEL, so no environment variable can prevent them.
Loading Keras and its own imports would take a quarter of the time; TensorFlow does without it.
"""

import os
import sys

from styling.system.limits import check_tensorflow
from styling.system.process import silent_stderr

check_tensorflow()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# None stands for a module that is missing.
without_keras = sys.modules.setdefault("keras.src", None) is None  # type: ignore[arg-type]
with silent_stderr():
    import tensorflow as tf
if without_keras:
    del sys.modules["keras.src"]

__all__ = ["tf"]
