// SPDX-License-Identifier: Apache-2.0
// pinhole exec, without a terminal in the guest (that comes with `pinhole shell`).
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>

#include "base/printable.h"
#include "cli/agent_client.h"
#include "cli/app.h"
#include "cli/secrets.h"
#include "cli/terminal.h"
#include "sys/files.h"
#include "sys/seccomp.h"

/// Of LeakSanitizer, where the build has it.
extern "C" __attribute__((weak)) void __lsan_do_leak_check();

namespace pinhole::cli {
namespace {

/// As docker and env do: 125 we failed, 126 not executable, 127 not found.
int status_of(const Error& error) {
  return error.code == "not_found" ? 127 : error.code == "not_executable" ? 126 : 125;
}

/// From here on it needs its descriptors alone. What the guest says is read by this process, so that a guest which broke
/// into it has a terminal's bytes, which it has anyway, and nothing of the user's.
Result<void> seal() {
  static constexpr auto kOwn = std::to_array<sys::AllowedCall>({
      // The C library looks at a stream before it first writes to it.
      {"newfstatat", sys::ArgumentIs{.index = 3, .value = AT_EMPTY_PATH}},
      {"ioctl", sys::ArgumentIs{.index = 1, .value = TCGETS}},
      {"poll"},
      {"sendto"},
  });
  // It looks for leaks by a process of its own, which cannot be started later.
  if (__lsan_do_leak_check != nullptr) __lsan_do_leak_check();
  return sys::seal({sys::running_calls(), kOwn});
}

/// What the guest has instead of the user's secrets; without an answer the command runs without it.
void add_placeholders(const Vm& vm, std::vector<std::string>& env) {
  auto placeholders = secret_environment(vm);
  if (placeholders) {
    env.insert(env.end(), placeholders->begin(), placeholders->end());
    return;
  }
  if (placeholders.error().code == "not_running") return;  // that is told anyway
  print_note("note: without placeholders for secrets: " + printable(placeholders.error().message));
}

struct ExecWords {
  std::string name, cwd = "/";
  std::vector<std::string> command, env;
  unsigned uid = 0;
};

Result<int> exec(const ExecWords& words) {
  wire::ExecRequest request{
      .argv = words.command,
      .env = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/",
              "LANG=C.UTF-8", "http_proxy=http://127.0.0.1:3128",
              "https_proxy=http://127.0.0.1:3128", "no_proxy=localhost,127.0.0.1,::1"},
      .cwd = words.cwd,
      .uid = words.uid,
      .gid = words.uid};
  AgentOptions options{.limit = std::chrono::hours(24 * 365), .input_fd = STDIN_FILENO};
  options.output = [](wire::FrameType stream, std::string_view bytes) {
    return sys::write_all(stream == wire::FrameType::stdout_data ? STDOUT_FILENO : STDERR_FILENO,
                          bytes);
  };
  options.connected = seal;
  auto vm = find_vm(words.name);
  if (vm) add_placeholders(*vm, request.env);
  request.env.insert(request.env.end(), words.env.begin(), words.env.end());
  auto reply = vm ? ask_agent(*vm, request, std::move(options)) : std::unexpected(vm.error());
  if (!reply) {
    reply.error().exit_status = status_of(reply.error());
    return std::unexpected(std::move(reply).error());
  }
  const auto* ended = std::get_if<wire::ExecReply>(&*reply);
  if (ended == nullptr)
    return fail(Error{.message = "the guest's agent gave another answer than asked for",
                      .exit_status = 125});
  return ended->exit.value_or(128 + ended->signal.value_or(0));
}

}  // namespace

void add_exec(Commands& commands) {
  CLI::App& command =
      commands.add("exec", "Run a command in a running VM; its status is the command's",
                   "  pinhole exec web -- uname -a\n  tar c . | pinhole exec web --uid 1000 -- tar "
                   "x -C /workspace");
  auto words = std::make_shared<ExecWords>();
  command.add_option("NAME", words->name, "the VM")->required();
  command.add_option("--uid", words->uid,
                     "run it as this user and group id (default: root of the guest)");
  command.add_option("--cwd", words->cwd, "working folder in the guest")->capture_default_str();
  command.add_option("--env", words->env, "NAME=value; may be given again")->expected(1);
  command.add_option("CMD", words->command, "the command, after --")->required();
  commands.on(command, [words] { return exec(*words); });
}

}  // namespace pinhole::cli
