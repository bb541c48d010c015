// SPDX-License-Identifier: Apache-2.0
#include "cli/guest_command.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <optional>

#include "base/printable.h"
#include "cli/agent_client.h"
#include "cli/secrets.h"
#include "cli/terminal.h"
#include "sys/raw_terminal.h"
#include "sys/seccomp.h"
#include "sys/user.h"

/// Of LeakSanitizer, where the build has it.
extern "C" __attribute__((weak)) void __lsan_do_leak_check();

namespace pinhole::cli {
namespace {

constexpr int kFailed = 125;

int status_of(const Error& error) {
  if (error.code == "interrupted") return error.exit_status;
  return error.code == "not_found" ? 127 : error.code == "not_executable" ? 126 : kFailed;
}

}  // namespace

Result<void> seal_for_guest() {
  static constexpr auto kOwn = std::to_array<sys::AllowedCall>({
      // The C library looks at a stream before it first writes to it.
      {"newfstatat", sys::ArgumentIs{.index = 3, .value = AT_EMPTY_PATH}},
      {"ioctl", sys::ArgumentIs{.index = 1, .value = TCGETS}},
      // The terminal's size, and its usual mode in the end.
      {"ioctl", sys::ArgumentIs{.index = 1, .value = TIOCGWINSZ}},
      {"ioctl", sys::ArgumentIs{.index = 1, .value = TCSETSW}},
      {"poll"},
      {"sendto"},
      {"shutdown"},
      {"setsockopt", sys::ArgumentIs{.index = 2, .value = SO_LINGER}},
  });
  // It looks for leaks by a process of its own, which cannot be started later.
  if (__lsan_do_leak_check != nullptr) __lsan_do_leak_check();
  return sys::seal({sys::running_calls(), kOwn});
}

namespace {

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

/// What programs draw by; the guest knows nothing of our terminal.
void add_terminal_type(std::vector<std::string>& env) {
  constexpr std::size_t kLongestName = 64;
  for (const char* name : {"TERM", "COLORTERM"}) {
    const auto value = sys::env(name);
    if (value && !value->empty() && value->size() <= kLongestName && printable(*value) == *value)
      env.push_back(fmt::format("{}={}", name, *value));
  }
}

Result<bool> wants_terminal(TerminalWish wish) {
  const bool there = ::isatty(STDIN_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 1;
  if (wish == TerminalWish::always && !there) {
    return fail(Error{.message = "stdin and stdout are not a terminal",
                      .fix = "pinhole exec, which needs none",
                      .exit_status = kFailed});
  }
  return there && wish != TerminalWish::never;
}

/// Blocked and readable from now on.
Fd signals_for(bool terminal) {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2})
    ::sigaddset(&set, number);
  struct sigaction before{};
  // As nohup has it.
  if (::sigaction(SIGHUP, nullptr, &before) == 0 && before.sa_handler == SIG_IGN)
    ::sigdelset(&set, SIGHUP);
  if (terminal) ::sigaddset(&set, SIGWINCH);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  return Fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

Result<int> exit_status(Result<wire::Reply> reply) {
  if (!reply) {
    reply.error().exit_status = status_of(reply.error());
    return std::unexpected(std::move(reply).error());
  }
  const auto* ended = std::get_if<wire::ExecReply>(&*reply);
  if (ended == nullptr)
    return fail(Error{.message = "the guest's agent gave another answer than asked for",
                      .exit_status = kFailed});
  return ended->exit.value_or(128 + ended->signal.value_or(0));
}

}  // namespace

Result<int> run_guest_command(const std::string& name, GuestCommand command) {
  PINHOLE_TRY(const bool terminal, wants_terminal(command.terminal));
  auto vm = find_vm(name);
  if (!vm) return exit_status(std::unexpected(std::move(vm).error()));
  wire::ExecRequest request{.argv = std::move(command.argv),
                            .cwd = std::move(command.cwd),
                            .uid = command.uid,
                            .gid = command.gid};
  if (terminal) {
    add_terminal_type(request.env);
    const auto size = sys::terminal_size(STDOUT_FILENO);
    request.terminal =
        size ? wire::WindowSize{.rows = size->rows, .columns = size->columns} : wire::WindowSize();
  }
  add_placeholders(*vm, request.env);
  request.env.insert(request.env.end(), command.env.begin(), command.env.end());

  const Fd signals = signals_for(terminal);
  std::optional<sys::RawTerminal> raw;
  AgentOptions options{.limit = std::chrono::hours(24 * 365),
                       .input_fd = STDIN_FILENO,
                       .signal_fd = signals.get(),
                       .terminal_fd = terminal ? STDIN_FILENO : -1,
                       .output_fd = STDOUT_FILENO,
                       .error_fd = STDERR_FILENO};
  options.connected = [&]() -> Result<void> {
    if (terminal) {
      PINHOLE_TRY(auto entered, sys::RawTerminal::enter(STDIN_FILENO));
      raw.emplace(std::move(entered));
    }
    return seal_for_guest();
  };
  auto reply = ask_agent(*vm, request, std::move(options));
  return exit_status(std::move(reply));
}

}  // namespace pinhole::cli
