// SPDX-License-Identifier: Apache-2.0
// pinhole demo.
#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include <boost/json.hpp>

#include "base/printable.h"
#include "base/strings.h"
#include "cli/agent_client.h"
#include "cli/app.h"
#include "cli/demo_origin.h"
#include "cli/images.h"
#include "cli/interrupts.h"
#include "cli/launch_vm.h"
#include "cli/terminal.h"
#include "cli/verify.h"
#include "sys/files.h"
#include "sys/guest_dir.h"
#include "sys/process.h"
#include "sys/user.h"

namespace pinhole::cli {
namespace {

namespace fs = std::filesystem;

struct DemoWords {
  bool as_json = false, keep = false;
  std::string accel = "auto";
  // Set by the outer process for the inner one.
  std::string name, folder;
};

struct Expectation {
  std::string name;
  std::vector<std::string> words;  // what follows `pinhole-agent fetch`
  std::vector<std::string> holds;  // what its output must hold
};

std::vector<Expectation> expectations(const DemoOrigin& origin) {
  const std::string http = fmt::format("http://{}/file.txt", DemoOrigin::kHttpName);
  const std::string https = fmt::format("https://{}/file.txt", DemoOrigin::kHttpsName);
  const std::string sha = "sha256=" + origin.sha256();
  return {
      {"door: http, allowed", {http}, {"status=200", sha}},
      {"door: https, allowed", {https}, {"status=200", sha}},
      {"door: a name not allowed",
       {"https://not-allowed.example/"},
       {"status=403", "code=denied_by_policy"}},
      {"door: a method not allowed",
       {"-X", "POST", "-d", "x", http},
       {"status=403", "code=denied_by_policy"}},
      {"door: a name that is loopback", {"http://localhost/"}, {"status=403", "code=ssrf_blocked"}},
      {"door: the metadata address",
       {"http://169.254.169.254/latest/meta-data/"},
       {"status=403", "code=ssrf_blocked"}},
  };
}

Result<Collected> in_guest(const Vm& vm, std::vector<std::string> argv) {
  constexpr auto kLimit = std::chrono::seconds(90);
  return run_in_guest(
      vm,
      {.argv = std::move(argv),
       .env = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "http_proxy=http://127.0.0.1:3128",
               "https_proxy=http://127.0.0.1:3128"}},
      kLimit);
}

template <typename Look>
void timed(std::vector<Check>& checks, std::string name, Look look) {
  const auto started = std::chrono::steady_clock::now();
  const std::pair<bool, std::string> found = look();
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::steady_clock::now() - started);
  checks.push_back({.name = std::move(name),
                    .ok = found.first,
                    .evidence = printable(found.second, 300),
                    .ms = static_cast<std::uint64_t>(took.count())});
}

void check_fetches(const Vm& vm, const DemoOrigin& origin, std::vector<Check>& checks) {
  for (Expectation& expected : expectations(origin)) {
    timed(checks, expected.name, [&]() -> std::pair<bool, std::string> {
      std::vector<std::string> argv = {"/usr/lib/pinhole/pinhole-agent", "fetch", "-o",
                                       "/dev/null"};
      argv.insert(argv.end(), expected.words.begin(), expected.words.end());
      const auto output = in_guest(vm, std::move(argv));
      if (!output) return {false, output.error().message};
      const std::string text = output->out + output->err;
      return {std::ranges::all_of(expected.holds,
                                  [&](const std::string& part) { return text.contains(part); }),
              std::string(trim(text))};
    });
  }
  const auto curl = [&](const std::string& words) -> std::pair<bool, std::string> {
    const auto output = in_guest(
        vm,
        {"sh", "-c",
         fmt::format("curl -sS -w 'status=%{{http_code}}\\n' -o /tmp/c {} && sha256sum < /tmp/c",
                     words)});
    if (!output) return {false, output.error().message};
    return {output->out.contains("status=200") && output->out.contains(origin.sha256()),
            output->out + output->err};
  };
  timed(checks, "door: curl, http through the proxy",
        [&] { return curl(fmt::format("http://{}/file.txt", DemoOrigin::kHttpName)); });
  timed(checks, "door: curl, https through a tunnel", [&] {
    return curl(fmt::format("--cacert /workspace/demo-ca.crt https://{}/file.txt",
                            DemoOrigin::kTunnelName));
  });
  timed(checks, "the guest was booted by EFI firmware", [&]() -> std::pair<bool, std::string> {
    const auto output = in_guest(vm, {"sh", "-c", "ls -d /sys/firmware/efi"});
    return {output && output->status == 0,
            output ? output->out + output->err : output.error().message};
  });
}

/// Whether vsock-fetch.out has a line for this URL with this digest.
bool fetched_at_boot(std::string_view lines, const std::string& url, const std::string& sha256) {
  return std::ranges::any_of(split(lines, '\n'), [&](std::string_view line) {
    return line.starts_with("status=200 ") && line.contains("sha256=" + sha256) &&
           line.contains("url=" + url);
  });
}

/// The two files that the guest wrote into the workspace, and whose they are.
void check_workspace(const Vm& vm, const DemoOrigin& origin, const fs::path& workspace,
                     std::vector<Check>& checks) {
  timed(checks, "workspace: markers of this boot", [&]() -> std::pair<bool, std::string> {
    const auto folder = sys::GuestDir::open(workspace);
    const auto marker =
        folder ? folder->read("boot-ok.txt", 65536) : std::unexpected(folder.error());
    const auto fetched =
        folder ? folder->read("vsock-fetch.out", 65536) : std::unexpected(folder.error());
    if (!marker || !fetched) return {false, (marker ? fetched : marker).error().message};
    const auto ours = sys::read_file(vm.paths.boot_ok, 65536);
    const bool door =
        fetched->contains("status=403 code=denied_by_policy") &&
        fetched_at_boot(*fetched, fmt::format("http://{}/file.txt", DemoOrigin::kHttpName),
                        origin.sha256()) &&
        fetched_at_boot(*fetched, fmt::format("https://{}/file.txt", DemoOrigin::kHttpsName),
                        origin.sha256());
    return {ours && *ours == *marker && door, *fetched};
  });
  timed(checks, "workspace: a file of the user's uid is the user's",
        [&]() -> std::pair<bool, std::string> {
          const auto made = run_in_guest(vm,
                                         {.argv = {"touch", "/workspace/made-in-guest"},
                                          .env = {"PATH=/usr/bin:/bin"},
                                          .uid = ::getuid(),
                                          .gid = ::getgid()},
                                         std::chrono::seconds(30));
          if (!made || made->status != 0) return {false, made ? made->err : made.error().message};
          const auto status =
              sys::run({.program = "/usr/bin/stat",
                        .args = {"-c", "%u", (workspace / "made-in-guest").string()}},
                       {});
          const std::string owner = status ? std::string(trim(status->out)) : "?";
          return {owner == std::to_string(::getuid()), "owner on the host: uid " + owner};
        });
}

std::size_t count_running(const Vm& vm) {
  constexpr std::uint64_t kLargestLog = 8 << 20;
  const auto log = sys::read_file(vm.paths.status_log, kLargestLog);
  std::size_t count = 0;
  if (!log) return count;
  for (const std::string_view line : split(*log, '\n')) {
    if (line.contains("VM state: 1 (running)")) ++count;
  }
  return count;
}

/// One line when it came up and one for each heartbeat since: the second comes with the next heartbeat.
void check_heartbeat(const Vm& vm, std::vector<Check>& checks) {
  timed(checks, "status.log shows it running, again and again",
        [&]() -> std::pair<bool, std::string> {
          const Fd watch(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
          ::inotify_add_watch(watch.get(), vm.paths.status_log.c_str(), IN_MODIFY);
          const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
          std::size_t count = count_running(vm);
          while (count < 2 && std::chrono::steady_clock::now() < deadline) {
            pollfd waited{.fd = watch.get(), .events = POLLIN, .revents = 0};
            ::poll(&waited, 1, 1000);
            std::array<char, 4096> events;
            while (::read(watch.get(), events.data(), events.size()) > 0) {
            }
            count = count_running(vm);
          }
          return {count >= 2, fmt::format("{} lines with VM state: 1 (running)", count)};
        });
}

Result<preflight::PrepareOptions> options_for(const DemoWords& words, const DemoOrigin& origin,
                                              const config::Paths& paths) {
  const fs::path folder = words.folder, workspace = folder / "workspace",
                 policy = folder / "demo.yaml";
  PINHOLE_TRY_VOID(sys::make_private_dir(workspace));
  PINHOLE_TRY(const std::string ca, sys::read_file(folder / "ca.pem", 65536));
  PINHOLE_TRY_VOID(sys::write_file_atomic(workspace / "demo-ca.crt", ca, 0644));
  PINHOLE_TRY_VOID(sys::write_file_atomic(policy, origin.policy()));
  preflight::PrepareOptions options{.name = words.name};
  PINHOLE_TRY(options.image, ensure_image("base"));
  options.request.workspace = workspace.string();
  options.workspace_explicit = true;
  options.request.boot = config::BootWish::efi;  // the whole way: firmware, cloud-init and all
  options.accelerator = words.accel == "tcg"   ? preflight::AcceleratorWish::tcg
                        : words.accel == "kvm" ? preflight::AcceleratorWish::kvm
                                               : preflight::AcceleratorWish::automatic;
  options.fetches = {fmt::format("http://{}/file.txt", DemoOrigin::kHttpName),
                     fmt::format("https://{}/file.txt", DemoOrigin::kHttpsName)};
  PINHOLE_TRY(options.policies, preflight::gather_policies(paths, {.session = {policy}}));
  return options;
}

void print_verdict(const Verdict& verdict, double seconds) {
  // A line break inside a line is shown as \n.
  print_line("");
  print_line(fmt::format("{} booted and was verified in {:.1f} s; it has no network device.",
                         verdict.vm, seconds));
  print_line("");
  print_checks(verdict.checks);
  print_line("");
  const auto failed = std::ranges::count(verdict.checks, false, &Check::ok);
  print_line(failed == 0 ? fmt::format("all {} checks passed", verdict.checks.size())
                         : fmt::format("{} of {} checks FAILED", failed, verdict.checks.size()));
}

/// The demo itself, in a process of its own.
Result<int> inner_demo(const DemoWords& words) {
  PINHOLE_TRY(const config::Paths paths, config::user_paths());
  PINHOLE_TRY(const auto origin, DemoOrigin::start(words.folder));
  PINHOLE_TRY(const auto options, options_for(words, origin, paths));
  const auto started = std::chrono::steady_clock::now();
  PINHOLE_TRY(const Vm vm,
              launch_vm(paths, options, {.quiet = words.as_json, .tied = !words.keep}));
  PINHOLE_TRY(Verdict verdict, verify_vm(vm));
  const std::chrono::duration<double> booted = std::chrono::steady_clock::now() - started;
  check_fetches(vm, origin, verdict.checks);
  check_workspace(vm, origin, fs::path(words.folder) / "workspace", verdict.checks);
  check_heartbeat(vm, verdict.checks);
  if (words.as_json) {
    print_json(boost::json::serialize(to_json(verdict)));
  } else {
    print_verdict(verdict, booted.count());
  }
  return verdict.ok() ? 0 : 1;
}

/// Runs the demo in a child and removes everything that it made, however it ended: passed, failed, killed, or by Ctrl-C.
Result<int> outer_demo(DemoWords words) {
  PINHOLE_TRY_VOID(ensure_image("base"));
  PINHOLE_TRY(const config::Paths paths, config::user_paths());
  PINHOLE_TRY(auto folder, sys::TempDir::make());
  words.name = "demo-" + sys::random_hex(3);
  const Vm vm{.name = words.name, .paths = config::vm_paths(paths, words.name)};
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  std::vector<std::string> args = {
      "demo", "--name", words.name, "--folder", folder.path().string(), "--accel", words.accel};
  if (words.as_json) args.emplace_back("--json");
  if (words.keep) args.emplace_back("--keep");
  const Interrupts interrupts;
  PINHOLE_TRY(auto child, sys::spawn({.program = self,
                                      .args = std::move(args),
                                      .environment = sys::whole_environment(),
                                      .descriptors = {{0, 0}, {1, 1}, {2, 2}},
                                      .may_gain_privileges = true}));
  std::array<pollfd, 2> waited{{{child.pidfd(), POLLIN, 0}, {interrupts.fd(), POLLIN, 0}}};
  while (::poll(waited.data(), waited.size(), -1) < 0 && errno == EINTR) {
  }
  constexpr auto kGrace = std::chrono::seconds(20);
  const auto status = child.stop(waited[1].revents != 0 ? kGrace : std::chrono::seconds(0));
  if (words.keep && status.ok()) {
    folder.release();
    print_line(fmt::format("kept: pinhole status {0}; pinhole rm --force {0}", vm.name));
  } else {
    (void)stop_vm(vm, true);
    (void)sys::remove_tree(vm.paths.runtime);
    (void)sys::remove_tree(vm.paths.dir);
  }
  return waited[1].revents != 0 ? 130 : status.signaled ? 1 : status.value;
}

}  // namespace

void add_demo(Commands& commands) {
  CLI::App& command = commands.add("demo",
                                   "Prove everything on this machine: boot a VM without a network, "
                                   "fetch through the door, be refused; then clean up",
                                   "  pinhole demo");
  auto words = std::make_shared<DemoWords>();
  command.add_flag("--json", words->as_json, "print JSON");
  command.add_flag("--keep", words->keep, "leave the VM running");
  command.add_option("--accel", words->accel, "auto, kvm or tcg")
      ->check(CLI::IsMember({"auto", "kvm", "tcg"}))
      ->capture_default_str();
  command.add_option("--name", words->name)
      ->group("");  // how the outer process calls the inner one
  command.add_option("--folder", words->folder)->group("");
  commands.on(command,
              [words] { return words->folder.empty() ? outer_demo(*words) : inner_demo(*words); });
}

}  // namespace pinhole::cli
