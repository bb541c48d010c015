# SPDX-License-Identifier: Apache-2.0
# Completion of pinhole for bash. Works without the package bash-completion:  source pinhole.bash
# tests/completions_test.py compares the tables below with what every `--help` says.

# What may follow "pinhole"; then, by command ("image build" is one), its options.
_pinhole_commands="demo run shell forward cp up down rm ls status logs audit exec verify doctor explain image gc cache review seed trust policy pep vsockd supervise version"
declare -gA _pinhole_subcommands=(
  [image]="build import verify ls inspect rm"
  [cache]="ls rm"
  [review]="ls show apply drop"
  [seed]="build inspect"
  [policy]="check explain test reload"
  [audit]="tail query verify"
)
declare -gA _pinhole_options=(
  [demo]="--json --keep --accel"
  [up]="--image --disk --cpus --memory --workspace --ro --no-workspace --cache --no-markers --guard --no-capture --policy --config --no-config --trust
        --user-data --fetch --boot --accel --reset-efi-vars --quiet"
  [run]="--use --allow --secret --env --timeout --keep --review --no-terminal --image --cpus --memory --workspace --ro --no-workspace --cache --guard
        --no-capture --policy --config --no-config --trust --boot --accel"
  [shell]="--root --env"
  [forward]=""
  [cp]=""
  [down]="--force --json"
  [rm]="--force"
  [ls]="--json"
  [status]="--json"
  [logs]="--console --audit --supervisor --status --follow --raw"
  [audit]=""
  ["audit tail"]="--file --json --lines --follow"
  ["audit query"]="--file --json --host --code --rule --action --method --since --until --limit"
  ["audit verify"]="--file --json --head"
  [exec]="--uid --gid --cwd --env --terminal --no-terminal"
  [verify]="--json"
  [doctor]="--json --fix --quick --no-round-trip --only"
  [explain]="--json --markdown"
  [image]=""
  ["image build"]="--refresh --json"
  ["image import"]="--name --sha256 --sums --size --json"
  ["image verify"]="--json"
  ["image ls"]="--json"
  ["image inspect"]="--json"
  ["image rm"]=""
  [gc]="--dry-run --images --json"
  [cache]=""
  ["cache ls"]="--json"
  ["cache rm"]=""
  [review]=""
  ["review ls"]="--json"
  ["review show"]="--diff --json"
  ["review apply"]="--force --with-marked --json"
  ["review drop"]=""
  [seed]=""
  ["seed build"]="--output --image-hash --instance-id --hostname"
  ["seed inspect"]="--json"
  [trust]="--yes"
  [policy]=""
  ["policy check"]="--policy --config --no-config --json"
  ["policy explain"]="--policy --config --no-config --vm --json"
  ["policy test"]="--policy --config --no-config --vm --json"
  ["policy reload"]="--policy --config --no-config --trust --yes"
  [pep]="--policy --foreign-keys --listen --token-file --audit --vm --boot --image --control-fd --authority --create-authority
        --placeholders --canary --resolv-conf --log-level"
  [vsockd]="--socket --socket-fd --vhost-fd --base --base-fd --ports --cid --once --control-fd"
  [supervise]=""
  [version]=""
)

# Names out of `pinhole ls --json`. In JSON a quote inside a text is escaped, so this finds members only.
_pinhole_names() {
  "${COMP_WORDS[0]}" "$@" --json 2>/dev/null | grep -o '[{,]"name":"[a-z0-9][a-z0-9._-]*"' | cut -d'"' -f4
}

_pinhole_offer() { mapfile -t COMPREPLY < <(compgen "$@" -- "$cur"); }

_pinhole_offer_files() {
  compopt -o filenames 2>/dev/null
  _pinhole_offer "$@"
}

# The value of option $2 of command $1; false: it takes none.
_pinhole_value() {
  case "$1 $2" in
    *" --accel") _pinhole_offer -W "auto kvm tcg" ;;
    *" --log-level") _pinhole_offer -W "error warning info debug" ;;
    "policy "*" --vm") _pinhole_offer -W "$(_pinhole_names ls)" ;;
    "up --boot" | "run --boot") _pinhole_offer -W "auto efi direct" ;;
    *" --guard") _pinhole_offer -W "off warn strict" ;;
    "up --cache" | "run --cache") _pinhole_offer -W "npm pip cargo go" ;;
    "up --image" | "run --image") _pinhole_offer -W "base node python full chromium $(_pinhole_names image ls)" ;;
    "up --workspace" | "up -w" | "run --workspace" | "run -w" | "pep --"authority | "pep --"create-authority) _pinhole_offer_files -d ;;
    "run --"policy | "run --"config | "up --"disk | "up --"policy | "up --"config | "up --"user-data | "pep --"policy | "pep --"audit | "pep --"token-file | "pep --"placeholders | "vsockd --"socket | \
      "vsockd --"base | "seed build --"output | "seed build -o" | "policy "*" --policy" | "policy "*" --config") _pinhole_offer_files -f ;;
    "audit "*" --file" | "image import --"sums) _pinhole_offer_files -f ;;
    "image import --"name | "image import --"sha256 | "image import --"size) COMPREPLY=() ;;
    "audit query --action") _pinhole_offer -W "allow deny intercept tunnel raw" ;;
    "audit "*" --"host | "audit "*" --"code | "audit "*" --"rule | "audit "*" --"method | "audit "*" --"since | \
      "audit "*" --"until | "audit "*" --"limit | "audit "*" --"lines | "audit "*" -n" | "audit "*" --"head) COMPREPLY=() ;;
    "run --"use | "run --"allow | "run --"secret | "run --"env | "run --"timeout | "run --"cpus | "run --"memory | "run --"trust | \
      "shell --"env | "exec --"gid | "up --"cpus | "up --"memory | "up --"trust | "policy reload --trust" | "up --"fetch | "exec --"uid | "exec --"cwd | "exec --"env | \
      "seed build --"image-hash | "seed build --"instance-id | "seed build --"hostname | "pep --"foreign-keys | \
      "pep --"listen | "pep --"vm | "pep --"boot | "pep --"image | "pep --"control-fd | "vsockd --"socket-fd | \
      "vsockd --"vhost-fd | "vsockd --"control-fd | "vsockd --"base-fd | "vsockd --"ports | "vsockd --"cid) COMPREPLY=() ;;
    *) return 1 ;;
  esac
}

_pinhole() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command= word
  COMPREPLY=()
  # bash makes words of "--accel=t": "--accel", "=", "t".
  if [[ $cur == = ]]; then
    cur=
  elif [[ $prev == = ]]; then
    prev=${COMP_WORDS[COMP_CWORD - 2]}
  fi
  if ((COMP_CWORD == 1)); then
    _pinhole_offer -W "$_pinhole_commands --help --version"
    return
  fi
  command=${COMP_WORDS[1]}
  if [[ -n ${_pinhole_subcommands[$command]-} ]]; then
    if ((COMP_CWORD == 2)); then
      _pinhole_offer -W "${_pinhole_subcommands[$command]} --help"
      return
    fi
    command+=" ${COMP_WORDS[2]}"
  fi
  [[ -v _pinhole_options[$command] ]] || return
  # What follows "--" is a command of the guest.
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do [[ $word != -- ]] || return; done
  _pinhole_value "$command" "$prev" && return
  if [[ $cur == -* ]]; then
    _pinhole_offer -W "${_pinhole_options[$command]} --help"
    return
  fi
  case $command in
    up | down | rm | status | logs | exec | shell | forward | verify | supervise | "audit tail" | "audit query" | "audit verify") _pinhole_offer -W "$(_pinhole_names ls)" ;;
    "image build") _pinhole_offer_files -f -W "base node python full chromium" ;;
    "image import") _pinhole_offer_files -f ;;
    "image inspect" | "image verify" | "image rm") _pinhole_offer -W "$(_pinhole_names image ls)" ;;
    "review show" | "review apply" | "review drop") _pinhole_offer -W "$(_pinhole_names review ls)" ;;
    "cache rm") _pinhole_offer -W "$(_pinhole_names cache ls)" ;;
    "seed build" | "seed inspect" | cp) _pinhole_offer_files -f ;;
    trust) _pinhole_offer_files -d ;;
    "policy check" | "policy test") _pinhole_offer_files -f ;;
    "policy reload") _pinhole_offer -W "$(_pinhole_names ls)" ;;
    "policy explain") ((COMP_CWORD != 3)) || _pinhole_offer -W "GET HEAD POST PUT DELETE PATCH CONNECT" ;;
  esac
}

complete -F _pinhole pinhole
