// SPDX-License-Identifier: Apache-2.0
// pinhole forward: ports of the guest's loopback on the host's.
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <deque>

#include "base/printable.h"
#include "base/strings.h"
#include "cli/agent_client.h"
#include "cli/app.h"
#include "cli/guest_command.h"
#include "cli/interrupts.h"
#include "cli/terminal.h"
#include "sys/files.h"
#include "sys/loopback.h"
#include "sys/process.h"
#include "sys/user.h"

namespace pinhole::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostPorts = 32;
constexpr std::size_t kMostConnections =
    128;  // each has a process; further ones wait to be accepted
constexpr int kBacklog = 128;

struct ForwardWords {
  std::string name;
  std::vector<std::string> ports;
  std::uint16_t dial = 0;  // the inner process's
};

struct Forward {
  std::uint16_t host = 0;
  std::uint16_t guest = 0;
  Fd listener = {};
};

std::optional<std::uint16_t> parse_port(std::string_view text) {
  const auto port = parse_u64(text);
  if (!port || *port == 0 || *port > 65535) return std::nullopt;
  return static_cast<std::uint16_t>(*port);
}

/// "8080", or "HOST:GUEST".
Result<Forward> parse_forward(const std::string& word) {
  const std::size_t colon = word.find(':');
  const std::string_view text(word);
  const auto host = parse_port(text.substr(0, colon));
  const auto guest = colon == std::string::npos ? host : parse_port(text.substr(colon + 1));
  if (host && guest) return Forward{.host = *host, .guest = *guest};
  return fail(Error{.message = fmt::format("\"{}\" is not a port", printable(word, 40)),
                    .fix = "for example 3000, or 8080:80 for port 8080 here and 80 in the guest",
                    .exit_status = kUsageStatus});
}

Result<Fd> listen(std::uint16_t port) {
  auto listener = sys::listen_loopback(port, kBacklog);
  if (listener) return listener;
  return fail(Error{.message = listener.error().message,
                    .fix = fmt::format("choose another port here: {}:GUEST-PORT",
                                       port < 50'000 ? port + 10'000 : port - 10'000)});
}

/// One connection, in a process of its own: stdin and stdout are the socket.
Result<int> dial(const ForwardWords& words) {
  PINHOLE_TRY(const Vm vm, find_vm(words.name));
  AgentOptions options{
      .limit = std::chrono::hours(24 * 365), .input_fd = STDIN_FILENO, .connected = seal_for_guest};
  options.output = [](wire::FrameType type, std::string_view bytes) -> Result<void> {
    if (type != wire::FrameType::stdout_eof) return sys::write_all(STDOUT_FILENO, bytes);
    ::shutdown(STDOUT_FILENO, SHUT_WR);
    return {};
  };
  auto reply = ask_agent(vm, wire::DialRequest{.port = words.dial}, std::move(options));
  if (reply) return 0;
  // A reset, so that nobody takes it for an answer's end.
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(STDOUT_FILENO, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
  return std::unexpected(std::move(reply).error());
}

class Forwarder {
 public:
  Forwarder(Vm vm, std::deque<Forward> forwards)
      : vm_(std::move(vm)), forwards_(std::move(forwards)) {}

  /// Until a signal, or until the VM is gone.
  Result<int> run() {
    const Interrupts interrupts;
    for (;;) {
      std::vector<pollfd> waited{{interrupts.fd(), POLLIN, 0}};
      const bool room = running_.size() < kMostConnections;
      for (const Forward& forward : forwards_)
        waited.push_back({room ? forward.listener.get() : -1, POLLIN, 0});
      for (const sys::Process& process : running_) waited.push_back({process.pidfd(), POLLIN, 0});
      constexpr int kLookMs = 2000;  // at whether the VM is still there
      if (::poll(waited.data(), waited.size(), kLookMs) < 0 && errno != EINTR)
        return fail("cannot wait: {}", errno_text(errno));
      if (waited[0].revents != 0) return 130;
      for (std::size_t i = 0; i < forwards_.size(); ++i) {
        if (waited[i + 1].revents != 0) accept(forwards_[i]);
      }
      std::erase_if(running_, [](sys::Process& process) { return process.poll().has_value(); });
      if (const auto client = connect(vm_); !client && client.error().code == "not_running")
        return fail(Error(client.error()));
    }
  }

 private:
  void accept(const Forward& forward) {
    const Fd socket(::accept4(forward.listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!socket) return;
    std::error_code error;
    const fs::path self = fs::read_symlink("/proc/self/exe", error);
    auto process =
        sys::spawn({.program = self,
                    .args = {"forward", vm_.name, "--dial", std::to_string(forward.guest)},
                    .environment = sys::whole_environment(),
                    .descriptors = {{0, socket.get()}, {1, socket.get()}, {2, 2}}});
    if (process)
      running_.push_back(std::move(*process));
    else
      print_note("pinhole: " + printable(process.error().message));
  }

  Vm vm_;
  std::deque<Forward> forwards_;
  std::deque<sys::Process> running_;
};

Result<int> forward(const ForwardWords& words) {
  PINHOLE_TRY(const Vm vm, find_vm(words.name));
  std::deque<Forward> forwards;
  for (const std::string& word : words.ports) {
    PINHOLE_TRY(Forward parsed, parse_forward(word));
    PINHOLE_TRY(parsed.listener, listen(parsed.host));
    forwards.push_back(std::move(parsed));
  }
  PINHOLE_TRY(auto client, connect(vm));
  std::string said = "forward:";
  for (const Forward& one : forwards)
    said += fmt::format(" 127.0.0.1:{} -> guest port {};", one.host, one.guest);
  said.pop_back();
  // What the user opens is written down beside what the guest asks for.
  PINHOLE_TRY_VOID(client.request({{"op", "note"}, {"text", said}}));
  for (const Forward& one : forwards) {
    print_note(fmt::format("127.0.0.1:{} leads to port {} of {}; Ctrl-C ends it", one.host,
                           one.guest, vm.name));
  }
  return Forwarder(vm, std::move(forwards)).run();
}

}  // namespace

void add_forward(Commands& commands) {
  CLI::App& command =
      commands.add("forward", "Make ports of a running VM reachable on 127.0.0.1, for you alone",
                   "  pinhole forward web 3000\n  pinhole forward web 8080:80 5432");
  auto words = std::make_shared<ForwardWords>();
  command.add_option("NAME", words->name, "the VM")->required();
  command.add_option("PORT", words->ports, "PORT, or HOST-PORT:GUEST-PORT")
      ->expected(0, static_cast<int>(kMostPorts));
  command.add_option("--dial", words->dial)->group("");  // how the outer process calls inner ones
  commands.on(command, [words]() -> Result<int> {
    if (words->dial != 0) return dial(*words);
    if (!words->ports.empty()) return forward(*words);
    return fail(Error{.message = "forward needs a port",
                      .fix = "pinhole forward NAME 3000",
                      .exit_status = kUsageStatus});
  });
}

}  // namespace pinhole::cli
