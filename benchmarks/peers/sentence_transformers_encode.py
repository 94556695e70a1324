"""sentence-transformers' encode, as it comes (fp32, batches of 32 by length): texts."""

import json
import os
import sys
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

from sentence_transformers import SentenceTransformer


def main() -> None:
    job, repeats = json.loads(Path(sys.argv[1]).read_text()), int(sys.argv[2])
    model = SentenceTransformer(job["model"], device="cpu")
    rates = []
    for repeat in range(repeats + 1):
        start = time.process_time()
        model.encode(job["texts"], show_progress_bar=False)
        if repeat:  # the first is for warming up
            rates.append(len(job["texts"]) / (time.process_time() - start))
    print(json.dumps({"texts_per_cpu_second": rates}))


main()
