"""Opens checkpoints that may be damaged, and says what came of it; for files that can end a process, in one of its own.

``python -m tests.conversion.fuzz_worker`` reads a folder per line and answers in a line.
"""

import faulthandler
import sys
import traceback

from conversion.source import open_source
from deberta_core.checkpoint import CheckpointError
from deberta_core.general_config import ConfigError
from deberta_core.heads import weights

READ, REFUSED, BUG = "read", "refused", "BUG"


def attempt(folder, head):
    """Open a checkpoint and read everything: what came of it, and why."""
    try:
        with open_source(folder) as source:
            found = source.shapes
            for key, weight in weights(source.config, head).items():
                if found.get(key) != weight.shape:
                    return BUG, f"accepted {key} as {found.get(key)}, not {weight.shape}"
            for name, info in source.tensors.items():
                array = source.read_raw(name)
                if array.shape != info.shape or array.nbytes != info.nbytes:
                    return BUG, f"{name} is {array.shape}, said to be {info.shape}"
        return READ, ""
    except (CheckpointError, FileNotFoundError) as error:
        return REFUSED, str(error)
    except ValueError as error:
        said = type(error) in (ValueError, ConfigError) and str(folder) in str(error)
        return (REFUSED, str(error)) if said else (BUG, traceback.format_exc())
    except Exception:
        return BUG, traceback.format_exc()


def main():
    faulthandler.disable()
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except ImportError:
        pass
    for line in sys.stdin:
        verdict, why = attempt(line.rstrip("\n"), sys.argv[1])
        print(verdict, repr(why), flush=True)


if __name__ == "__main__":
    main()
