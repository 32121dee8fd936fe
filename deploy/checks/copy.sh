# shellcheck shell=bash
# A copy of the tree, in which something is changed and built. Its variables: $work is the folder of the work, $copy that of the copy,
# $target that in which cargo has built this tree. The copy's own target folder is $work/target.
: "${work:?}" "${copy:?}" "${target:?}"

# Touches only files that differ, so that only those are compiled anew: also those that an earlier run has left with a mutation.
refresh() {
  local file
  mkdir -p "$copy"
  git ls-files -z --cached --others --exclude-standard | sort -z >"$work/files"
  (cd "$copy" && find . -type f -printf '%P\0' | sort -z | comm -z -13 "$work/files" - | xargs -0 --no-run-if-empty rm)
  while IFS= read -r -d '' file; do
    if [[ -f $file ]] && ! cmp --quiet "$file" "$copy/$file"; then
      mkdir -p "$copy/$(dirname "$file")"
      cp "$file" "$copy/$file"
    fi
  done <"$work/files"
}

# What is compiled of others need not be compiled again, if the same compilers for C are used.
seed_target() {
  if [[ -d $work/target || ! -d $target/debug/deps ]]; then return; fi
  mkdir -p "$work/target/debug"
  cp -a "$target"/debug/{deps,build,.fingerprint} "$work/target/debug/"
}

