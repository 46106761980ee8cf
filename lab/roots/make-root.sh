#!/bin/sh
# Makes one Debian root file system of the lab: make-root.sh SUITE DIR MIRROR PACKAGES-FILE FIRST-BUILD-UID
#
# Runs on the machine, with the network, before any namespace exists. What comes out is never written to again: the lab
# puts overlays over it. The caller (xtask/src/lab/roots.rs) gives a fresh DIR and renames it when this has succeeded.
set -eu
suite=$1 dir=$2 mirror=$3 packages=$4 build_uid=$5
export DEBIAN_FRONTEND=noninteractive LC_ALL=C

# The machine's debootstrap may be older than the suite: every modern suite bootstraps with sid's script.
script=/usr/share/debootstrap/scripts/$suite
[ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid

debootstrap --variant=minbase --include=ca-certificates "$suite" "$dir" "$mirror" "$script"

umount_all() { umount -R "$dir/proc" 2>/dev/null || true; }
trap umount_all EXIT
mount -t proc proc "$dir/proc"

# No package may start a service in here; unpacking need not wait for the disk, a broken root is thrown away anyway.
printf '#!/bin/sh\nexit 101\n' > "$dir/usr/sbin/policy-rc.d"
chmod 755 "$dir/usr/sbin/policy-rc.d"
echo force-unsafe-io > "$dir/etc/dpkg/dpkg.cfg.d/lab"
printf 'path-exclude=/usr/share/doc/*\npath-exclude=/usr/share/man/*\npath-exclude=/usr/share/locale/*\n' >> "$dir/etc/dpkg/dpkg.cfg.d/lab"

# The machine's way to the mirror is the root's way: name resolution, proxies, certificates.
cp -L /etc/resolv.conf "$dir/etc/resolv.conf" 2>/dev/null || true
apt-config dump | grep -E '^Acquire::(http|https)::Proxy ' > "$dir/etc/apt/apt.conf.d/00lab" || true
cat >> "$dir/etc/apt/apt.conf.d/00lab" <<CONF
Acquire::Check-Valid-Until "false";
Acquire::Check-Date "false";
Acquire::Languages "none";
Acquire::Retries "3";
APT::Install-Recommends "false";
CONF

chroot "$dir" apt-get -q update
# shellcheck disable=SC2046 # one word a package
chroot "$dir" apt-get -q -y install $(sed 's/#.*//' "$packages")
chroot "$dir" apt-get clean
rm -f "$dir/etc/resolv.conf"

# The lab puts these in place itself, so that any version goes with any root, and a host can be without.
mkdir -p "$dir/opt/lab"
for program in docker ctr podman kind; do
    [ ! -e "$dir/usr/bin/$program" ] || mv "$dir/usr/bin/$program" "$dir/opt/lab/$program"
done

# Build users: Nix kills every process of a build user's uid, so no two roots may share one.
users=
for n in 0 1 2 3 4 5 6 7; do
    users=$users${users:+,}nixbld$n
    echo "nixbld$n:x:$((build_uid + n)):30000:Nix build user $n:/var/empty:/usr/sbin/nologin" >> "$dir/etc/passwd"
done
sed -i '/^nixbld:/d; /^docker:/d' "$dir/etc/group"
# Ids for the containers of an ordinary user.
for file in subuid subgid; do echo "alice:100000:65536" > "$dir/etc/$file"; done
# alice is an ordinary user who may use Nix and Docker; mallory may use neither.
cat >> "$dir/etc/group" <<GROUP
nixbld:x:30000:$users
docker:x:990:alice
nix-users:x:991:alice
alice:x:1000:
mallory:x:1001:
GROUP
cat >> "$dir/etc/passwd" <<PASSWD
alice:x:1000:1000:alice:/home/alice:/bin/bash
mallory:x:1001:1001:mallory:/home/mallory:/bin/bash
PASSWD
