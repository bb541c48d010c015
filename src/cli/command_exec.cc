// SPDX-License-Identifier: Apache-2.0
// pinhole exec and shell.
#include <unistd.h>

#include <optional>

#include "cli/app.h"
#include "cli/guest_command.h"
#include "cli/vm_access.h"

namespace pinhole::cli {
namespace {

struct ExecWords {
  std::string name, cwd;
  std::vector<std::string> command, env;
  std::optional<unsigned> uid, gid;
  bool terminal = false, no_terminal = false, root = false;
};

TerminalWish terminal_wish(const ExecWords& words) {
  return words.terminal      ? TerminalWish::always
         : words.no_terminal ? TerminalWish::never
                             : TerminalWish::where_there_is_one;
}

Result<int> exec(const ExecWords& words) {
  const unsigned uid = words.uid.value_or(0);
  return run_guest_command(words.name, {.argv = words.command,
                                        .env = words.env,
                                        .cwd = words.cwd.empty() ? "/" : words.cwd,
                                        .uid = uid,
                                        .gid = words.gid.value_or(uid),
                                        .terminal = terminal_wish(words)});
}

/// A login shell of whoever works there, in the workspace where there is one.
Result<int> shell(const ExecWords& words) {
  PINHOLE_TRY(const std::string name, name_or_only(words.name));
  constexpr const char* kStart =
      "cd /workspace 2>/dev/null || cd; s=$SHELL; [ -x \"$s\" ] || s=/bin/sh; exec \"$s\" -l";
  return run_guest_command(name, {.argv = {"/bin/sh", "-c", kStart},
                                  .env = words.env,
                                  .uid = words.root ? 0 : ::getuid(),
                                  .gid = words.root ? 0 : ::getgid(),
                                  .terminal = TerminalWish::always});
}

}  // namespace

void add_exec(Commands& commands) {
  CLI::App& command =
      commands.add("exec", "Run a command in a running VM; its status is the command's",
                   "  pinhole exec web -- uname -a\n"
                   "  pinhole exec web --uid 1000 -- htop\n"
                   "  tar c . | pinhole exec web --uid 1000 -- tar x -C /workspace");
  auto words = std::make_shared<ExecWords>();
  command.add_option("NAME", words->name, "the VM")->required();
  command.add_option("--uid", words->uid,
                     "run it as this user and group id (default: root of the guest)");
  command.add_option("--gid", words->gid, "and as this group");
  command.add_option("--cwd", words->cwd, "working folder in the guest (default: /)");
  repeatable(command.add_option("--env", words->env, "NAME=value; may be given again"));
  auto* terminal = command.add_flag("-t,--terminal", words->terminal,
                                    "with a terminal (default: where there is one)");
  command.add_flag("-T,--no-terminal", words->no_terminal, "without one")->excludes(terminal);
  command.add_option("CMD", words->command, "the command, after --")->required();
  commands.on(command, [words] { return exec(*words); });
}

void add_shell(Commands& commands) {
  CLI::App& command = commands.add("shell", "A shell in a running VM, in your terminal",
                                   "  pinhole shell web\n  pinhole shell web --root");
  auto words = std::make_shared<ExecWords>();
  command.add_option("NAME", words->name, "the VM (default: the only one)");
  command.add_flag("--root", words->root, "as root of the guest, instead of your own user id");
  repeatable(command.add_option("--env", words->env, "NAME=value; may be given again"));
  commands.on(command, [words] { return shell(*words); });
}

}  // namespace pinhole::cli
