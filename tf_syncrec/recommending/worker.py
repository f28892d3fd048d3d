"""One of several processes that answer everybody: `FOLDER PROCESSES NOW PART PART ...`.

Ends when its standard input is closed, that is with the process that began it.
"""

import os
import sys
from pathlib import Path

from tf_syncrec.cli import load_tensorflow, run_command
from tf_syncrec.utils.stopping import end_with_parent


def main() -> None:
    """Answers the parts that the command line names."""
    folder, processes, now, *numbers = sys.argv[1:]
    end_with_parent()
    load_tensorflow(side_by_side=False)  # threads are set below
    import tensorflow as tf

    threads = max((os.cpu_count() or 1) // int(processes), 1)
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    from tf_syncrec.recommending.everybody import answer_parts
    from tf_syncrec.recommending.parts import Parts
    from tf_syncrec.recommending.served_model import ServedModel

    parts = Parts(Path(folder))
    served = ServedModel(Path(parts.request().version))
    for _ in answer_parts(served, parts, map(int, numbers), float(now)):
        pass


if __name__ == "__main__":
    run_command(main)
