"""A search over a Dask cluster, as docs/search_on_a_cluster.md writes it.

Dask is needed for nothing else: where there is none, this file is skipped and says so.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

# Where Dask is not installed, a folder here passes for `distributed`, but none for this:
pytest.importorskip("dask.distributed", reason="needs Dask: pip install dask[distributed]")

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "search_on_a_cluster.md").read_text("utf-8")
SETTING_UP, SEARCHING = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)

# What each worker did, asked as long as there are any; and all scores, once the search is over.
ASKING = """
            from tinynn.core.threads import of_numpy
            tasks = client.run(lambda dask_worker: dask_worker.state.executed_count)
            threads = client.run(lambda: [pool.num_threads for pool in of_numpy().pools])
"""
TELLING = """
    import json
    scores = search.cv_results_["mean_test_score"].tolist()
    print(json.dumps([list(tasks.values()), list(threads.values()), scores]))
"""


# As on the page, it is cut short by max_iter, of which scikit-learn warns.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_search_over_a_cluster_gives_what_one_process_gives(tmp_path):
    fitting = "            search.fit(X, y)\n"
    assert SEARCHING.count(fitting) == 1
    script = tmp_path / "search.py"
    script.write_text(
        SETTING_UP + SEARCHING.replace(fitting, fitting + ASKING) + TELLING, encoding="utf-8"
    )
    run = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False, timeout=300
    )
    assert run.returncode == 0, run.stderr
    tasks, threads, scores = json.loads(run.stdout.splitlines()[-1])
    assert len(tasks) == 2
    assert min(tasks) > 0
    assert np.ravel(threads).tolist() == [1] * np.size(threads)

    here = {}
    exec(compile(SETTING_UP, "search_on_a_cluster.md", "exec"), here)
    search = here["search"].fit(here["X"], here["y"])
    assert search.cv_results_["mean_test_score"].tolist() == scores
    assert str(search.best_params_) in run.stdout
    assert search.best_score_ > 0.9
