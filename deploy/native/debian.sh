# shellcheck shell=bash disable=SC2154
# A Debian of its own in a folder, for what the machine's Debian is too old to hold. Its release is pinned by name; packages come
# with apt. Needs root.

readonly debian_release=forky
debian=$home/debian-$debian_release

# install_debian FOR
install_debian() {
  check_chroot "$1"
  if [[ -d $debian ]]; then return; fi
  need "$1" debootstrap debootstrap
  rm -rf "$debian.new"
  # Testing and later releases all use the script of sid, which an older debootstrap knows too. It mounts /proc while it works.
  step "$1: Debian $debian_release with debootstrap" "$home/log/debootstrap.log" \
    unshare --mount --propagation private \
    debootstrap --variant=minbase "$debian_release" "$debian.new" '' /usr/share/debootstrap/scripts/sid || return 1
  mv "$debian.new" "$debian"
}

# check_chroot FOR
check_chroot() {
  ((EUID == 0)) || fail "$1 lacks root, for a chroot with Debian $debian_release"
  grep -qs '^ID=debian' /etc/os-release || fail "$1 lacks Debian: natively it runs in a chroot that Debian's debootstrap makes"
  unshare --mount --propagation private true 2>/dev/null ||
    fail "$1 lacks the right to mount (CAP_SYS_ADMIN), for a chroot with Debian $debian_release"
}

# install_in_debian FOR PACKAGE: one at a time, for two servers may need it at once.
install_in_debian() {
  (
    flock 8
    install_debian "$1" || exit 1
    if debian_has "$2"; then exit; fi
    cp --dereference /etc/resolv.conf "$debian/etc/resolv.conf"
    step "$1: $2 with apt-get in the chroot" "$home/log/apt-$2.log" apt_in_debian "$2"
  ) 8>"$home/debian.lock"
}

# Also mends what an interrupted installation left.
apt_in_debian() {
  # shellcheck disable=SC2016
  run_inside "$debian" root:root /usr/bin/env DEBIAN_FRONTEND=noninteractive /bin/sh -ec '
    dpkg --configure -a
    apt-get -o Acquire::Check-Valid-Until=false update -q
    apt-get install -q -y --no-install-recommends "$1"
    apt-get clean' sh "$1"
}

debian_has() {
  [[ $(dpkg-query --admindir="$debian/var/lib/dpkg" -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}
