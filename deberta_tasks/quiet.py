"""Starting TensorFlow without what it has to say about it; saying that a long step goes on."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator


def start_tensorflow_quietly() -> None:
    """Import TensorFlow without the lines it prints while starting, of which no log level stops all.

    Where ``TF_CPP_MIN_LOG_LEVEL`` is set, whoever set it wants to see them, and nothing is done.

    Raises:
        ImportError: if it is not installed; what it printed is then shown.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    kept = os.dup(2)
    with tempfile.TemporaryFile() as lines:
        os.dup2(lines.fileno(), 2)
        try:
            import tensorflow as tf

            tf.config.list_logical_devices()
        except Exception:
            lines.seek(0)
            os.write(kept, lines.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


@contextlib.contextmanager
def waiting(title: str, every: float = 10.0) -> Iterator[None]:
    """Say what is done, again and again while it lasts, and how long it took where that was long.

    Args:
        title: what is done.
        every: seconds between two lines.
    """
    started, done = time.monotonic(), threading.Event()

    def tell() -> None:
        while not done.wait(every):
            print(f"  ... {time.monotonic() - started:.0f} s", flush=True)

    print(f"{title} ...", flush=True)
    ticker = threading.Thread(target=tell, daemon=True)
    ticker.start()
    try:
        yield
    finally:
        done.set()
        ticker.join()
