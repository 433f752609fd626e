import json
import subprocess
import sys

from dmth_fast import environment
from dmth_fast.retrieval import native


def test_describe_is_json_and_names_what_is_in_force() -> None:
    described = json.loads(json.dumps(environment.describe(), allow_nan=False))
    assert described["hardware"]["isa"] == native.isa()
    assert described["hardware"]["isas"] == list(native.isas())
    assert described["hardware"]["cores"] >= 1
    assert {"dmth_fast", "python", "numpy", "torch"} <= described["versions"].keys()


def test_describe_does_not_import_torch() -> None:
    program = (
        "import sys; from dmth_fast import environment; environment.describe(); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_summary_is_one_line_with_the_processor_and_the_version() -> None:
    line = environment.summary()
    assert "\n" not in line
    assert environment.describe()["hardware"]["cpu"] in line  # type: ignore[index]
    assert "dmth_fast" in line
