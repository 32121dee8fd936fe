# shellcheck shell=bash disable=SC2154
# A disk of its own for the data of an offset: a file system in memory, as large as was asked for, so that it can be filled.
# Uses $data, $disk (size, or nothing).

has_disk() { mountpoint -q "$data"; }

# Before anything is in the folder, which the disk would hide.
mount_disk() {
  if has_disk; then return; fi
  ((EUID == 0)) || fail '--disk lacks root, to mount one'
  [[ -z $(ls -A "$data") ]] || fail "--disk comes too late: there are data in $data already (down --purge deletes them)"
  mount -t tmpfs -o "size=$disk,mode=755" tmpfs "$data" || fail "no disk of $disk can be mounted"
  say "data on a disk of $disk"
}

# Servers that run keep theirs.
unmount_disk() { if has_disk && [[ -z $(ls -A --ignore=ballast "$data") ]]; then umount "$data"; fi; }

native_fill() {
  has_disk || fail "there is no disk to fill; up --disk gives $data one"
  # It ends when there is no room left.
  dd if=/dev/zero of="$data/ballast" bs=1M status=none 2>/dev/null || true
}

native_clear() { rm -f "$data/ballast"; }
