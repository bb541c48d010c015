# SPDX-License-Identifier: Apache-2.0
# Shared by scripts/demo and scripts/test: what is missing gets installed, and everything else runs as an ordinary user.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '%s\n' "== $*" >&2; }

missing_packages() {
  local package why
  while read -r package why; do
    case "$package" in
      ''|'#'*) continue ;;
      *'|'*) command -v "${package#*|}" >/dev/null && continue; package=${package%|*} ;;
    esac
    dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' || printf '%s\n' "$package"
  done < "$top/scripts/packages.txt"
}

# sudo is used here and nowhere else.
install_missing() {
  local missing sudo=
  missing=$(missing_packages)
  [ -n "$missing" ] || return 0
  say "these Debian packages are missing (why: scripts/packages.txt):" $missing
  if [ "$(id -u)" -ne 0 ]; then
    sudo=sudo
    command -v sudo >/dev/null || { say "install them as root, then run this again: apt-get install" $missing; exit 1; }
    say "installing them with sudo apt-get; nothing else here needs root"
  fi
  $sudo apt-get update -qq
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

has_ids() { grep -qE "^($1|$(id -u "$1")):" "$2"; }

# The first 65536 ids that nobody in /etc/subuid or /etc/subgid has: a range that two users share would let each change
# the other's files.
free_ids() {
  awk -F: '{ end = $2 + $3; if (end > top) top = end }
           END { first = 100000; while (first < top) first += 65536; print first "-" first + 65535 }' /etc/subuid /etc/subgid
}

exec_as_user() {
  local user=$1 home=$2; shift 2
  cd "$home/checkout"
  exec runuser -u "$user" -- env -u XDG_RUNTIME_DIR -u XDG_DATA_HOME -u XDG_STATE_HOME -u XDG_CONFIG_HOME -u XDG_CACHE_HOME \
    HOME="$home" USER="$user" LOGNAME="$user" TMPDIR=/tmp PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin \
    "$home/checkout/scripts/$(basename "$0")" "$@"
}

# Pinhole refuses to run VMs as root. Started by root (as in a container), this script goes on as user "pinhole", on a copy
# of the files in that user's home folder.
leave_root() {
  [ "$(id -u)" -eq 0 ] || return 0
  local user=pinhole home copy range
  if ! id "$user" >/dev/null 2>&1; then
    say "creating the ordinary user \"$user\": nothing runs as root"
    useradd --create-home --shell /bin/bash "$user"
  fi
  touch /etc/subuid /etc/subgid
  if ! has_ids "$user" /etc/subuid || ! has_ids "$user" /etc/subgid; then
    range=$(free_ids)
    usermod --add-subuids "$range" --add-subgids "$range" "$user"
  fi
  home=$(getent passwd "$user" | cut -d: -f6)
  copy=$home/checkout
  say "going on as user \"$user\" in $copy"
  if [ "$top" -ef "$copy" ]; then
    exec_as_user "$user" "$home" "$@"
  fi
  # One run at a time: the next one waits here until this one has ended (its processes inherit the descriptor).
  exec 9>"$home/.checkout.lock"
  flock -w 3600 9 || { say "another run has held $copy for an hour"; exit 1; }
  # The same place each time, so that the compiler cache finds its entries again; build/ stays.
  install -d -o "$user" -g "$user" "$copy"
  find "$copy" -mindepth 1 -maxdepth 1 ! -name build -exec rm -rf {} +
  (cd "$top" && git -c safe.directory='*' ls-files -z --cached --others --exclude-standard |
     while IFS= read -r -d '' file; do [ -e "$file" ] && printf '%s\0' "$file"; done |
     tar --null --files-from=- --create --file=-) |
    tar --extract --no-same-owner --file=- --directory="$copy"
  chown -R "$user:" "$copy"
  exec_as_user "$user" "$home" "$@"
}

check_subordinate_ids() {
  local user range; user=$(id -un)
  if has_ids "$user" /etc/subuid && has_ids "$user" /etc/subgid; then return 0; fi
  range=$(free_ids)
  say "user \"$user\" has no subordinate ids; image builds and workspaces need them"
  command -v sudo >/dev/null || { say "as root: usermod --add-subuids $range --add-subgids $range $user"; exit 1; }
  say "adding $range with sudo usermod"
  sudo usermod --add-subuids "$range" --add-subgids "$range" "$user"
}

# build PRESET [target…]
build() {
  local preset=$1; shift
  say "building ($preset)"
  (cd "$top" && cmake --preset "$preset" >"$top/build/$preset.configure.log" 2>&1) || { cat "$top/build/$preset.configure.log" >&2; exit 1; }
  cmake --build "$top/build/$preset" -- --quiet "$@"
}
