"""The quickstart as library calls.  Arguments override the configuration: ``run.rounds=4``."""

import sys
from pathlib import Path

import fedpriv

HERE = Path(__file__).parent

config = fedpriv.load_config(HERE / "quickstart" / "fedpriv.toml", sys.argv[1:])
plan = fedpriv.make_plan(config)
print(plan.guarantee)

result = fedpriv.run(config, Path("runs") / "library")
print(f"accuracy {result.accuracy:.3f}, majority {result.majority:.3f}")
print(f"epsilon {result.epsilon_spent:.3f} of {result.epsilon_budget:g}, delta {result.delta:g}")

print("report:", fedpriv.write_report(result.run_dir)["html"])
print("verified:", fedpriv.verify(result.run_dir).ok)
