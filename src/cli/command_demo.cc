// SPDX-License-Identifier: Apache-2.0
// pinhole demo.
#include <unistd.h>

#include <algorithm>
#include <iostream>

#include <boost/json.hpp>

#include "base/printable.h"
#include "base/strings.h"
#include "cli/agent_client.h"
#include "cli/app.h"
#include "cli/demo_origin.h"
#include "cli/images.h"
#include "cli/launch_vm.h"
#include "cli/terminal.h"
#include "cli/verify.h"
#include "sys/files.h"
#include "sys/guest_dir.h"
#include "sys/user.h"

namespace pinhole::cli {
namespace {

namespace fs = std::filesystem;

/// Removes the demo's VM however the demo ends.
class DemoVm {
 public:
  explicit DemoVm(Vm vm, bool keep) : vm_(std::move(vm)), keep_(keep) {}
  ~DemoVm() {
    if (keep_) return;
    (void)stop_vm(vm_, true);
    (void)sys::remove_tree(vm_.paths.dir);
  }
  DemoVm(const DemoVm&) = delete;
  DemoVm& operator=(const DemoVm&) = delete;

 private:
  Vm vm_;
  bool keep_;
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
  timed(checks, "door: curl, through the proxy", [&]() -> std::pair<bool, std::string> {
    const auto output = in_guest(vm, {"sh", "-c",
                                      fmt::format("curl -sS -w 'status=%{{http_code}}\\n' -o "
                                                  "/tmp/c http://{}/file.txt && sha256sum < /tmp/c",
                                                  DemoOrigin::kHttpName)});
    if (!output) return {false, output.error().message};
    return {output->out.contains("status=200") && output->out.contains(origin.sha256()),
            output->out + output->err};
  });
}

/// The two files that the guest wrote into the workspace, and whose they are.
void check_workspace(const Vm& vm, const fs::path& workspace, std::vector<Check>& checks) {
  timed(checks, "workspace: markers of this boot", [&]() -> std::pair<bool, std::string> {
    const auto folder = sys::GuestDir::open(workspace);
    const auto marker =
        folder ? folder->read("boot-ok.txt", 65536) : std::unexpected(folder.error());
    const auto fetched =
        folder ? folder->read("vsock-fetch.out", 65536) : std::unexpected(folder.error());
    if (!marker || !fetched) return {false, (marker ? fetched : marker).error().message};
    const auto ours = sys::read_file(vm.paths.boot_ok, 65536);
    return {ours && *ours == *marker && fetched->contains("status=200") &&
                fetched->contains("status=403 code=denied_by_policy"),
            *fetched};
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

void check_heartbeat(const Vm& vm, std::vector<Check>& checks) {
  timed(checks, "status.log shows it running, again and again",
        [&]() -> std::pair<bool, std::string> {
          const auto log = sys::read_file(vm.paths.status_log, 8 << 20);
          std::size_t count = 0;
          if (log) {
            for (const std::string_view line : split(*log, '\n'))
              count += line.contains("VM state: 1 (running)") ? 1 : 0;
          }
          return {count >= 2, fmt::format("{} lines with VM state: 1 (running)", count)};
        });
}

Result<int> demo(bool as_json, bool keep, const std::string& accel) {
  PINHOLE_TRY(const config::Paths paths, config::user_paths());
  PINHOLE_TRY(const auto base, ensure_image("base"));
  PINHOLE_TRY(const auto folder, sys::TempDir::make());
  PINHOLE_TRY(const auto origin, DemoOrigin::start(folder.path()));
  const fs::path workspace = folder.path() / "workspace", policy = folder.path() / "demo.yaml";
  PINHOLE_TRY_VOID(sys::make_private_dir(workspace));
  PINHOLE_TRY_VOID(sys::write_file_atomic(policy, origin.policy()));
  preflight::PrepareOptions options{.name = "demo-" + sys::random_hex(3)};
  options.image = base;
  options.request.workspace = workspace.string();
  options.workspace_explicit = true;
  options.accelerator = accel == "tcg"   ? preflight::AcceleratorWish::tcg
                        : accel == "kvm" ? preflight::AcceleratorWish::kvm
                                         : preflight::AcceleratorWish::automatic;
  options.fetches = {fmt::format("http://{}/file.txt", DemoOrigin::kHttpName),
                     fmt::format("https://{}/file.txt", DemoOrigin::kHttpsName)};
  PINHOLE_TRY(options.policies, preflight::gather_policies(paths, {.session = {policy}}));
  const auto started = std::chrono::steady_clock::now();
  const Vm planned{.name = options.name, .paths = config::vm_paths(paths, options.name)};
  const DemoVm cleanup(planned, keep);
  PINHOLE_TRY(const Vm vm, launch_vm(paths, options));
  PINHOLE_TRY(Verdict verdict, verify_vm(vm));
  const auto booted = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::steady_clock::now() - started);
  check_fetches(vm, origin, verdict.checks);
  check_workspace(vm, workspace, verdict.checks);
  check_heartbeat(vm, verdict.checks);
  if (as_json) {
    print_line(boost::json::serialize(to_json(verdict)));
  } else {
    print_line(fmt::format(
        "\n{} booted through EFI and was verified in {:.1f} s; it has no network device.\n",
        vm.name, static_cast<double>(booted.count()) / 1000));
    print_checks(verdict.checks);
    const auto failed = std::ranges::count(verdict.checks, false, &Check::ok);
    print_line(failed == 0
                   ? fmt::format("\nall {} checks passed", verdict.checks.size())
                   : fmt::format("\n{} of {} checks FAILED", failed, verdict.checks.size()));
    if (keep) print_line(fmt::format("kept: pinhole status {0}; pinhole rm --force {0}", vm.name));
  }
  return verdict.ok() ? 0 : 1;
}

}  // namespace

void add_demo(Commands& commands) {
  CLI::App& command = commands.add("demo",
                                   "Prove everything on this machine: boot a VM without a network, "
                                   "fetch through the door, be refused; then clean up",
                                   "  pinhole demo");
  auto as_json = std::make_shared<bool>(false);
  auto keep = std::make_shared<bool>(false);
  auto accel = std::make_shared<std::string>("auto");
  command.add_flag("--json", *as_json, "print JSON");
  command.add_flag("--keep", *keep, "leave the VM running");
  command.add_option("--accel", *accel, "auto, kvm or tcg")
      ->check(CLI::IsMember({"auto", "kvm", "tcg"}))
      ->capture_default_str();
  commands.on(command, [=] { return demo(*as_json, *keep, *accel); });
}

}  // namespace pinhole::cli
