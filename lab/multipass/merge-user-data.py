"""What multipass makes of user data: merge-user-data.py KEY < USER-DATA. Comments and most quotes are lost, as in life."""
import sys

import yaml

try:
    data = yaml.safe_load(sys.stdin) or {}
except yaml.YAMLError as error:
    mark = getattr(error, "problem_mark", None)
    where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    sys.exit(f"yaml-cpp: error{where}: {getattr(error, 'problem', error)}")
if not isinstance(data, dict):
    sys.exit("yaml-cpp: error: operator[] call on a scalar")
data.setdefault("users", []).append("default")
data.setdefault("ssh_authorized_keys", []).append(sys.argv[1])
print("#cloud-config")
yaml.safe_dump(data, sys.stdout, sort_keys=False, allow_unicode=True, width=4096)
