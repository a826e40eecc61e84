#!/bin/sh
# Make the base image of all images, once: Debian with Python and nothing else, by debootstrap, as root.
#   docker/base.sh            print the name of the base image; make it where it is not there yet
# The name holds a digest of this file: a change of it makes a new base. To take up security updates, remove the image
# (podman rmi) and run this again; every image records the digest of the base on which it stands.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
engine=${CLAIMED_MED_CONTAINER_ENGINE:-podman}
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
security=${DEBIAN_SECURITY_MIRROR:-http://deb.debian.org/debian-security}
suite=bookworm
packages=python3,ca-certificates
name=localhost/claimed-med/base:$suite-$(sha256sum "$0" | cut -c 1-12)

if [ "$engine" = podman ]; then
    export CONTAINERS_CONF="${CONTAINERS_CONF:-$here/containers.conf}"
fi
if "$engine" image inspect "$name" >/dev/null 2>&1; then
    echo "$name"
    exit 0
fi
[ "$(id -u)" -eq 0 ] || { echo "base.sh: debootstrap needs root; or give any Debian with Python 3.11 as BASE" >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "base.sh: debootstrap is missing; run: make system-container" >&2; exit 1; }

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
debootstrap --variant=minbase --include="$packages" "$suite" "$root" "$mirror" >&2

printf 'deb %s %s main\ndeb %s %s-updates main\ndeb %s %s-security main\n' \
    "$mirror" "$suite" "$mirror" "$suite" "$security" "$suite" >"$root/etc/apt/sources.list"
cp /etc/resolv.conf "$root/etc/resolv.conf"
chroot "$root" apt-get -qq update >&2
DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get -qq -y upgrade >&2
chroot "$root" apt-get -qq clean

# what a run does not need; licences (copyright files) stay
find "$root/usr/share/doc" -depth -type f ! -name copyright -delete
rm -rf "$root"/usr/share/man/* "$root"/usr/share/info/* "$root"/usr/share/locale/* "$root"/var/lib/apt/lists/* \
    "$root"/var/cache/apt/*.bin "$root"/var/cache/debconf/*-old "$root"/var/cache/ldconfig/* "$root"/var/log/* \
    "$root"/tmp/* "$root"/etc/resolv.conf "$root"/etc/hostname "$root"/dev/*
find "$root/usr/lib" -name '__pycache__' -prune -exec rm -rf {} +
python3=$(basename "$(readlink "$root/usr/bin/python3")")
chroot "$root" "$python3" -m compileall -q --invalidation-mode unchecked-hash "/usr/lib/$python3" >&2
: >"$root/etc/machine-id"
echo 'claimed:x:1000:1000:components run as this user:/tmp:/usr/sbin/nologin' >>"$root/etc/passwd"
echo 'claimed:x:1000:' >>"$root/etc/group"

tar -C "$root" --sort=name --numeric-owner --mtime=@0 --clamp-mtime -c . |
    "$engine" import --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' - "$name" >&2
echo "$name"
