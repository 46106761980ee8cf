# Says what there is in a guest, a name and a value in each line.
PATH=$PATH:/usr/sbin:/sbin:/nix/var/nix/profiles/default/bin
echo "owner $(cat /etc/nixoci/vm.json 2>/dev/null | tr -d '\n')"
echo "stamp $(cat /var/lib/nixoci/stamp 2>/dev/null)"
echo "nix $(nix --version 2>/dev/null)"
echo "environment $(tr '\n' ' ' </etc/nixoci/environment 2>/dev/null)"
echo "machine $(uname -m)"
echo "release $(. /etc/os-release; echo "$PRETTY_NAME")"
echo "cpus $(nproc)"
echo "time $(date +%s)"
place=/nix/store
[ -d "$place" ] || place=/
echo "disk $(df -P -k "$place" | tail -n 1)"
grep -E '^(MemTotal|MemAvailable|SwapTotal|SwapFree):' /proc/meminfo
