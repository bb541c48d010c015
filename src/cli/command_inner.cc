// SPDX-License-Identifier: Apache-2.0
// pinhole pep, vsockd, supervise: the inner programs on their own.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "cli/app.h"
#include "cli/launch_vm.h"
#include "cli/terminal.h"
#include "cli/vm_access.h"
#include "config/vm_plan.h"
#include "preflight/shares.h"
#include "supervisor/supervisor.h"
#include "sys/files.h"

namespace pinhole::cli {
namespace {

/// Becomes the inner program, so that signals, terminal and exit status are its own.
Result<int> become(const char* program, const std::vector<std::string>& args) {
  PINHOLE_TRY(const auto path, config::inner_program(program));
  std::vector<std::string> words{path.string()};
  words.insert(words.end(), args.begin(), args.end());
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  ::execv(path.c_str(), pointers.data());
  return fail("cannot run {}: {}", path.string(), errno_text(errno));
}

void add_program(Commands& commands, const char* name, const char* program, const char* help,
                 const char* example) {
  CLI::App& command = commands.add(name, help, example);
  command.prefix_command();  // every word after the name is the inner program's, --help too
  command.set_help_flag();
  commands.on(command, [&command, program] { return become(program, command.remaining()); });
}

/// The report pipe that `pinhole up` gave us; in a run by hand, descriptor 3 may be anything or nothing.
Fd inherited_report() {
  struct stat info{};
  const bool pipe = ::fstat(supervisor::kReportFd, &info) == 0 && S_ISFIFO(info.st_mode);
  if (!pipe || ::fcntl(supervisor::kReportFd, F_SETFD, FD_CLOEXEC) != 0) return Fd();
  return Fd(supervisor::kReportFd);
}

Result<int> supervise(const std::string& name) {
  Fd report = inherited_report();
  PINHOLE_TRY(const Vm vm, find_vm(name));
  auto lock = sys::inherited_lock(kLockFd, vm.paths.lock);
  if (!lock) {
    PINHOLE_TRY(lock, sys::try_lock(vm.paths.lock));
  }
  if (!lock) {
    return fail(Error{.message = fmt::format("VM \"{}\" is already running", name),
                      .code = "already_running"});
  }
  PINHOLE_TRY(const std::string text, sys::read_file(vm.paths.plan, 1 << 20));
  PINHOLE_TRY(auto plan, config::parse_vm_plan(text));
  // For as long as the VM runs; whoever prepared it has them until it is up.
  PINHOLE_TRY(const auto caches, preflight::use_caches(plan.shares));
  supervisor::Supervisor supervisor(std::move(plan), vm.paths, *std::move(lock), std::move(report));
  PINHOLE_TRY(const auto ending, supervisor.run());
  if (ending.state == supervisor::VmState::error) return fail(ending.error);
  return 0;
}

}  // namespace

void add_inner(Commands& commands) {
  add_program(
      commands, "pep", "pinhole-pep",
      "Run the policy enforcement point alone, as any VM's or container's only exit",
      "  pinhole pep --policy policy.yaml --listen unix:/run/door.sock --audit audit.jsonl");
  add_program(commands, "vsockd", "pinhole-vsockd",
              "Run the virtio-vsock device alone, for a QEMU of your own",
              "  pinhole vsockd --socket vsock.sock --base v --ports 440,442 --cid 3");
  CLI::App& command = commands.add(
      "supervise", "Watch over one VM in the foreground (what `up` starts in the background)",
      "  pinhole supervise web");
  auto name = std::make_shared<std::string>();
  command.add_option("NAME", *name, "the VM")->required();
  commands.on(command, [name] { return supervise(*name); });
}

void add_version(Commands& commands) {
  CLI::App& command = commands.add("version", "Print the version", "");
  commands.on(command, [] {
    print_line("pinhole " PINHOLE_VERSION);
    return Result<int>(0);
  });
}

}  // namespace pinhole::cli
