// SPDX-License-Identifier: Apache-2.0
// pinhole cp: two processes with a tar between them. One talks to the guest and has given up
// everything else; the other reads or writes the user's files and never hears the guest but through
// src/tar, confined to the folder in question.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "base/printable.h"
#include "cli/agent_client.h"
#include "cli/app.h"
#include "cli/guest_command.h"
#include "cli/terminal.h"
#include "sys/confine_self.h"
#include "sys/files.h"
#include "sys/process.h"
#include "sys/unix_socket.h"
#include "sys/user.h"
#include "tar/tar.h"

namespace pinhole::cli {
namespace {

namespace fs = std::filesystem;

struct CpWords {
  std::string from, to;
  // How the outer process calls the inner ones: what to do, and to which path under which name.
  std::string inner, vm, path, name;
};

/// "web:/etc/hosts"; nothing for a path of this host, which may hold a colon after a slash.
std::optional<std::pair<std::string, std::string>> in_guest(const std::string& word) {
  const std::size_t colon = word.find(':');
  if (colon == std::string::npos || word.substr(0, colon).contains('/')) return std::nullopt;
  return std::pair{word.substr(0, colon), word.substr(colon + 1)};
}

Result<void> tell(const tar::Tally& tally) {
  for (const std::string& name : tally.left_out)
    print_note("note: left out: " + printable(name, 200));
  if (tally.left_out_count > tally.left_out.size()) {
    print_note(
        fmt::format("note: left out: {} more", tally.left_out_count - tally.left_out.size()));
  }
  return {};
}

Result<void> pack(const CpWords& words) {
  PINHOLE_TRY(const auto tally, tar::pack(words.path, words.name, [](std::string_view bytes) {
                return sys::write_all(STDOUT_FILENO, bytes);
              }));
  return tell(tally);
}

/// False where nothing at all arrived: whoever was to send it has said why.
Result<bool> unpack(const CpWords& words) {
  PINHOLE_TRY(const auto place, tar::place_for(words.path, words.name));
  sys::FileView view;
  view.paths.push_back({.path = place.folder, .access = sys::Visible::Access::build});
  PINHOLE_TRY_VOID(sys::confine_self(std::move(view)));
  bool any = false;
  const auto source = [&](std::span<char> into) -> Result<std::size_t> {
    for (;;) {
      const ssize_t n = ::read(STDIN_FILENO, into.data(), into.size());
      any = any || n > 0;
      if (n >= 0) return static_cast<std::size_t>(n);
      if (errno != EINTR) return fail("cannot read the archive: {}", errno_text(errno));
    }
  };
  const auto tally = tar::unpack(source, words.name, place.folder, place.name, {});
  if (!any) return false;
  if (!tally) return std::unexpected(tally.error());
  PINHOLE_TRY_VOID(tell(*tally));
  return true;
}

/// The conversation with the guest; the archive is on stdin or stdout.
Result<void> transfer(const CpWords& words) {
  PINHOLE_TRY(const Vm vm, find_vm(words.vm));
  AgentOptions options{.limit = std::chrono::hours(24 * 365),
                       .connected = seal_for_guest,
                       .idle_limit = std::chrono::minutes(2)};
  const bool to_guest = words.inner == "send";
  if (to_guest) options.input_fd = STDIN_FILENO;
  options.output = [](wire::FrameType, std::string_view bytes) {
    return sys::write_all(STDOUT_FILENO, bytes);
  };
  wire::Request request = wire::ReadFilesRequest{.path = words.path};
  if (to_guest) request = wire::WriteFilesRequest{.path = words.path, .name = words.name};
  const auto reply = ask_agent(vm, request, std::move(options));
  if (reply) return {};
  return fail(Error(reply.error()).context(fmt::format("{}:{}", words.vm, printable(words.path))));
}

Result<int> inner(const CpWords& words) {
  Result<void> done = fail("unknown inner step");
  if (words.inner == "pack") done = pack(words);
  if (words.inner == "unpack") {
    PINHOLE_TRY(const bool arrived, unpack(words));
    return arrived ? 0 : 1;
  }
  if (words.inner == "send" || words.inner == "receive") done = transfer(words);
  if (!done) return std::unexpected(std::move(done).error());
  return 0;
}

Result<sys::Process> start(const char* step, const CpWords& words, int in, int out) {
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  sys::Command command{.program = self,
                       .args = {"cp", "--inner", step, "--path=" + words.path},
                       .environment = sys::whole_environment(),
                       .working_dir = fs::current_path(),
                       .descriptors = {{1, out}, {2, STDERR_FILENO}}};
  if (!words.vm.empty()) command.args.push_back("--vm=" + words.vm);
  if (!words.name.empty()) command.args.push_back("--name=" + words.name);
  if (in >= 0) command.descriptors[0] = in;
  return sys::spawn(command);
}

/// `writer` and `reader` with a pipe between them. The one that failed has said why.
Result<int> run_both(const char* write_step, const CpWords& writer, const char* read_step,
                     const CpWords& reader) {
  PINHOLE_TRY(auto pipe, sys::make_pipe());
  PINHOLE_TRY(auto first, start(write_step, writer, -1, pipe.second.get()));
  pipe.second.reset();
  PINHOLE_TRY(auto second, start(read_step, reader, pipe.first.get(), STDERR_FILENO));
  pipe.first.reset();
  constexpr auto kForever = std::chrono::hours(24 * 365);
  const auto last = second.wait_for(kForever);
  // Nobody reads any more: it ends by itself, or has.
  const auto before = first.wait_for(std::chrono::seconds(10));
  return before && before->ok() && last && last->ok() ? 0 : 1;
}

Result<int> copy(const CpWords& words) {
  const auto from = in_guest(words.from);
  const auto to = in_guest(words.to);
  const auto good = [](const auto& side) { return !side || side->second.starts_with('/'); };
  if (from.has_value() == to.has_value() || !good(from) || !good(to)) {
    return fail(Error{.message = "one side of cp is a path of this host, the other one of a VM",
                      .fix = "pinhole cp notes.txt web:/tmp/, or: pinhole cp web:/var/log ./log",
                      .exit_status = kUsageStatus});
  }
  const auto& [name, path] = from ? *from : *to;
  PINHOLE_TRY(const Vm vm, find_vm(name));
  PINHOLE_TRY(auto client, connect(vm));
  if (to) {
    const std::string top = tar::top_name(fs::absolute(words.from));
    return run_both("pack", {.path = words.from, .name = top}, "send",
                    {.vm = name, .path = path, .name = top});
  }
  const std::string top = tar::top_name(path);
  return run_both("receive", {.vm = name, .path = path}, "unpack", {.path = words.to, .name = top});
}

}  // namespace

void add_cp(Commands& commands) {
  CLI::App& command =
      commands.add("cp", "Copy files and folders into a running VM, or out of it",
                   "  pinhole cp notes.txt web:/tmp/\n  pinhole cp web:/var/log ./guest-log");
  auto words = std::make_shared<CpWords>();
  command.add_option("FROM", words->from, "a path, or VM:/PATH");
  command.add_option("TO", words->to, "the other one; a folder that exists, or a new name");
  for (auto& [option, target] :
       std::initializer_list<std::pair<const char*, std::string*>>{{"--inner", &words->inner},
                                                                   {"--vm", &words->vm},
                                                                   {"--path", &words->path},
                                                                   {"--name", &words->name}})
    command.add_option(option, *target)->group("");
  commands.on(command, [words]() -> Result<int> {
    if (!words->inner.empty()) return inner(*words);
    if (!words->to.empty()) return copy(*words);
    return fail(Error{.message = "cp needs two paths",
                      .fix = "pinhole cp notes.txt web:/tmp/",
                      .exit_status = kUsageStatus});
  });
}

}  // namespace pinhole::cli
