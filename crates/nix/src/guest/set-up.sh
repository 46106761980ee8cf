# Makes a guest build with Nix: STAMP USER IDLE INSTALLER SHA256 SETTINGS EMULATE PREFERRED. Run by root; may be run again, and by two at once.
#
# IDLE is in seconds, 0 for never. INSTALLER is a file or a URL: it installs Nix if PREFERRED is not empty, or if the package of the release is too
# old. EMULATE is empty, or the guest is to run the other CPU's programs as well. Of what went wrong, the last line that begins with `@` says the kind.
set -eu
stamp=$1 user=$2 idle=$3 installer=$4 sha256=$5 conf=$6 emulate=$7 preferred=$8
home=/var/lib/nixoci
export DEBIAN_FRONTEND=noninteractive PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/nix/var/nix/profiles/default/bin"
for file in /etc/nixoci/environment /run/nixoci/environment; do if [ -e $file ]; then set -a; . $file; set +a; fi; done
say() { echo "$*"; }
fail() { echo "@$1"; exit 1; }
mkdir -p "$home" /etc/nixoci /usr/local/lib/nixoci
exec 9>"$home/lock"
flock -n 9 || { say 'somebody else sets it up: waiting'; flock -w 1800 9; }
[ "$(cat "$home/stamp" 2>/dev/null)" != "$stamp" ] || exit 0
rm -f "$home/stamp"

# What boots and what we install would want the same locks.
timeout 900 cloud-init status --wait >/dev/null 2>&1 || say "cloud-init: $(cloud-init status 2>&1 | head -n 1)"

# The lock is not for what is started and stays.
systemctl() { command systemctl "$@" 9>&-; }
apt() { apt-get -q -y -o DPkg::Lock::Timeout=600 -o Acquire::Retries=2 "$@" 9>&-; }
# apt's own waiting does not cover the lock of its lists, which a timer of Ubuntu's holds for minutes after a boot.
update() {
    tries=0 log=$home/update.log
    until apt update >"$log" 2>&1; do
        grep -q 'Could not get lock' "$log" && [ $tries -lt 120 ] || { cat "$log"; return 1; }
        [ $tries -gt 0 ] || say 'another program updates the lists of packages: waiting'
        tries=$((tries + 1))
        sleep 5
    done
    cat "$log"
    rm -f "$log"
}
packages() {
    update
    version=$(apt-cache policy nix-bin | sed -n 's/^  Candidate: //p')
    [ "$version" != '(none)' ] || version=
    if [ -n "$version" ] && dpkg --compare-versions "$version" ge 2.24; then
        say "installing Nix $version from the package nix-bin"
        apt install --no-install-recommends nix-bin nix-setup-systemd git
        return
    fi
    if [ -z "$installer" ]; then
        [ -n "$version" ] || fail 'no-package'
        fail "old-package $version"
    fi
    say "the package nix-bin of this release is ${version:-missing}, and nixoci needs 2.24: installing Nix by its installer"
    install
}
install() {
    file=$installer
    case $installer in
    http://* | https://*)
        file=$home/nix-installer
        say "downloading $installer"
        command -v curl >/dev/null || apt install --no-install-recommends curl ca-certificates
        curl -fL --retry 3 --no-progress-meter -o "$file.part" "$installer" || fail download
        mv "$file.part" "$file"
        ;;
    esac
    found=$(sha256sum <"$file" | cut -d' ' -f1)
    [ "$found" = "$sha256" ] || fail "sha256 $found"
    chmod 755 "$file"
    "$file" install linux --no-confirm 9>&-
    rm -f "$file"
}
installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -qx 'install ok installed'; }
# Whether all of Nix is there: a program alone may be what an interrupted installation left.
whole() {
    if [ -e /usr/bin/nix ]; then
        installed nix-bin && installed nix-setup-systemd
    else
        [ -e /nix/receipt.json ] && command -v nix >/dev/null
    fi
}
# What was interrupted is brought to its end.
[ -z "$(dpkg --audit)" ] || dpkg --configure -a 9>&- || apt --fix-broken install
if ! whole; then
    if [ -n "$preferred" ]; then say 'installing Nix by its installer'; install; else packages; fi
fi
command -v nix >/dev/null && getent group nixbld >/dev/null || fail 'no-nix'
command -v git >/dev/null || apt install --no-install-recommends git

# The package's programs need nothing of the guest's file system, which a build does not see; it tells the kernel of them.
if [ -n "$emulate" ]; then
    installed qemu-user-static || { say 'installing qemu, which runs the other CPU'"'"'s programs'; update; apt install qemu-user-static; }
    systemctl restart systemd-binfmt.service >/dev/null 2>&1 || true
    case $(uname -m) in
    x86_64) conf="$conf
extra-platforms = aarch64-linux" ;;
    *) conf="$conf
extra-platforms = x86_64-linux" ;;
    esac
fi

# A command of ssh's finds nothing that is not on the plain PATH.
for name in nix nix-build nix-store nix-daemon; do
    [ -e "/usr/bin/$name" ] || ln -sf "/nix/var/nix/profiles/default/bin/$name" "/usr/local/bin/$name"
done
mkdir -p /etc/nix
printf '%s\n' "$conf" >/etc/nix/nixoci.conf.new
mv /etc/nix/nixoci.conf.new /etc/nix/nixoci.conf
touch /etc/nix/nix.conf
grep -qx '!include nixoci.conf' /etc/nix/nix.conf || printf '\n!include nixoci.conf\n' >>/etc/nix/nix.conf
! getent group nix-users >/dev/null || usermod -aG nix-users "$user"
systemctl enable --now nix-daemon.socket >/dev/null 2>&1 || systemctl enable --now nix-daemon.service
systemctl restart nix-daemon.service

for dir in home sources roots; do
    mkdir -p "$home/$dir"
    chown "$user:" "$home/$dir"
done

cat >/usr/local/lib/nixoci/idle <<'END'
#!/bin/sh
# Switches this machine off when nixoci has not used it, and nobody has been at a terminal, for SECONDS.
seconds=$1
pause=$((seconds / 4 + 1))
[ $pause -lt 20 ] || pause=20
mkdir -p /run/nixoci
touch /run/nixoci/used
exec 8>>/run/nixoci/in-use
while sleep $pause; do
    # Somebody at a terminal, or a build.
    if ps -eo tty= | grep -q '^pts' || ! flock -n 8; then
        touch /run/nixoci/used
        continue
    fi
    if [ $(($(date +%s) - $(stat -c %Y /run/nixoci/used))) -ge "$seconds" ]; then
        systemctl poweroff
        exit
    fi
    flock -u 8
done
END
chmod 755 /usr/local/lib/nixoci/idle
cat >/etc/systemd/system/nixoci-idle.service <<END
[Unit]
Description=Switch off when nixoci does not use this machine

[Service]
ExecStart=/bin/sh /usr/local/lib/nixoci/idle $idle
Restart=on-failure

[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload
if [ "$idle" -gt 0 ]; then
    systemctl enable nixoci-idle.service >/dev/null 2>&1
    systemctl restart nixoci-idle.service
else
    systemctl disable --now nixoci-idle.service >/dev/null 2>&1 || true
fi

printf '%s\n' "$stamp" >"$home/stamp.new"
sync "$home/stamp.new"
mv "$home/stamp.new" "$home/stamp"
say "$(nix --version) is there"
