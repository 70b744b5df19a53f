#!/bin/sh
# Unpack PostgreSQL 17 with orafce and pgvector into a folder: what the Oracle-protocol mirror of
# the tests stores its tables in. Needs root, apt and mmdebstrap; a folder that is complete is kept.
#
#   ops/ci/mirror_packages.sh [FOLDER]      default: .cache/mirror
set -eu

folder=${1:-.cache/mirror}
root=$folder/root
suite=trixie
packages=postgresql-17,postgresql-17-orafce,postgresql-17-pgvector,dash,coreutils,libc-bin,tzdata

[ -e "$root/.complete" ] && exit 0
mkdir -p "$folder"
if [ -z "${LOCKED:-}" ]; then  # one of several test processes unpacks, the others wait for it
    LOCKED=1 exec flock "$folder/lock" "$0" "$@"
fi
[ "$(id -u)" = 0 ] || { echo "mirror_packages: needs root, for chroot" >&2; exit 1; }
command -v mmdebstrap >/dev/null || {
    apt-get update -qq
    apt-get install -qq -y --no-install-recommends mmdebstrap
}
archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' |
    grep -v security | head -n 1)

rm -rf "$root.part"
mmdebstrap --quiet --variant=extract --include="$packages" \
    --aptopt='APT::Install-Recommends "false"' "$suite" "$root.part" "$archive"
for name in bin sbin lib lib64; do
    [ -e "$root.part/$name" ] || ln -s "usr/$name" "$root.part/$name"
done
mkdir -p "$root.part/etc" "$root.part/tmp" "$root.part/data"
chmod 1777 "$root.part/tmp"
echo 'mirror:x:65500:65500::/tmp:/bin/sh' >>"$root.part/etc/passwd"
echo 'mirror:x:65500:' >>"$root.part/etc/group"
touch "$root.part/.complete"
rm -rf "$root"
mv "$root.part" "$root"
