// SPDX-License-Identifier: Apache-2.0
// pinhole up.
#include "base/printable.h"
#include "base/strings.h"
#include "cli/app.h"
#include "cli/images.h"
#include "cli/launch_vm.h"
#include "cli/policy_words.h"
#include "cli/terminal.h"
#include "sys/files.h"

namespace pinhole::cli {
namespace {

namespace fs = std::filesystem;

struct UpWords {
  std::string name, image, disk, memory, workspace, user_data, config, trust, accel = "auto";
  std::vector<std::string> policies, fetches;
  unsigned cpus = 0;
  bool no_workspace = false, no_markers = false, reset_efi_vars = false, quiet = false,
       no_config = false;
};

Result<config::VmRequest> request_of(const UpWords& words) {
  config::VmRequest request;
  if (!words.image.empty()) request.image = words.image;
  if (!words.disk.empty()) request.disk = fs::absolute(words.disk).string();
  if (words.cpus > 0) request.cpus = words.cpus;
  if (!words.workspace.empty()) request.workspace = fs::absolute(words.workspace).string();
  if (!words.user_data.empty()) request.user_data = fs::absolute(words.user_data).string();
  if (!words.memory.empty()) {
    constexpr std::uint64_t kMiB = 1 << 20;
    const auto bytes = parse_size(words.memory);
    if (!bytes || *bytes < 256 * kMiB) {
      return fail(Error{.message = fmt::format("--memory {} is not a size of at least 256MiB",
                                               printable(words.memory, 40)),
                        .fix = "for example --memory 2GiB",
                        .exit_status = kUsageStatus});
    }
    request.memory_mib = *bytes / kMiB;
  }
  return request;
}

Result<int> up(const UpWords& words) {
  PINHOLE_TRY(const std::string name, config::valid_vm_name(words.name));
  PINHOLE_TRY(const config::Paths paths, config::user_paths());
  preflight::PolicySources sources{.project = project_file(words.config, words.no_config)};
  for (const std::string& file : words.policies) sources.session.emplace_back(file);
  if (!words.workspace.empty()) sources.workspace = words.workspace;
  if (!words.trust.empty()) sources.trusted_hash = words.trust;
  preflight::PrepareOptions options{.name = name};
  PINHOLE_TRY(options.policies, preflight::gather_policies(paths, sources));
  for (const std::string& warning : options.policies.warnings)
    print_note("note: " + printable(warning));
  PINHOLE_TRY(auto flags, request_of(words));
  options.request = config::merged(std::move(flags), options.policies.project_request);
  if (sources.project) options.folder = fs::absolute(*sources.project).parent_path();
  if (words.no_workspace) options.request.workspace.reset();
  options.workspace_explicit = !words.workspace.empty();
  options.markers = !words.no_markers;
  options.reset_efi_vars = words.reset_efi_vars;
  options.fetches = words.fetches;
  options.accelerator = words.accel == "kvm"   ? preflight::AcceleratorWish::kvm
                        : words.accel == "tcg" ? preflight::AcceleratorWish::tcg
                                               : preflight::AcceleratorWish::automatic;
  if (!options.request.disk) {
    PINHOLE_TRY(options.image, ensure_image(options.request.image.value_or("base")));
  }
  PINHOLE_TRY(const Vm vm, launch_vm(paths, options, {.quiet = words.quiet}));
  print_line(fmt::format("{}: running", vm.name));
  return 0;
}

}  // namespace

void add_up(Commands& commands) {
  CLI::App& command =
      commands.add("up", "Start a VM, making it where it does not exist yet",
                   "  pinhole up web --workspace . --policy policy.yaml\n"
                   "  pinhole up web                   # again, with what ./pinhole.yaml says\n"
                   "  pinhole up test --disk my.raw --user-data seed.yaml");
  auto words = std::make_shared<UpWords>();
  command.add_option("NAME", words->name, "what to call it")->required();
  auto* image =
      command.add_option("--image", words->image, "the image it starts from (default: base)");
  command.add_option("--disk", words->disk, "boot this raw disk instead, and write to it")
      ->excludes(image);
  command.add_option("--cpus", words->cpus, "virtual processors (default: 1)")
      ->check(CLI::Range(1, 64));
  command.add_option("--memory", words->memory, "memory, as in 512MiB or 2GiB (default: 1GiB)");
  auto* workspace = command.add_option("-w,--workspace", words->workspace,
                                       "the folder that the guest sees at /workspace");
  command.add_flag("--no-workspace", words->no_workspace, "none, whatever pinhole.yaml says")
      ->excludes(workspace);
  command.add_flag("--no-markers", words->no_markers,
                   "do not write boot-ok.txt and vsock-fetch.out into the workspace");
  command.add_option("--policy", words->policies,
                     "a policy file for this session; may be given again");
  command.add_option("--config", words->config, "instead of ./pinhole.yaml");
  command.add_flag("--no-config", words->no_config, "do not read ./pinhole.yaml");
  command.add_option("--trust", words->trust,
                     "sha256:… of a pinhole.yaml that you have read (for CI)");
  command.add_option("--user-data", words->user_data,
                     "cloud-init user-data; a change makes the guest run it again");
  command.add_option("--fetch", words->fetches,
                     "a URL that the guest fetches through the door as it boots");
  command
      .add_option("--accel", words->accel,
                  "auto tries KVM with a real boot, once per boot of this host")
      ->check(CLI::IsMember({"auto", "kvm", "tcg"}))
      ->capture_default_str();
  command.add_flag("--reset-efi-vars", words->reset_efi_vars,
                   "start with a fresh EFI variable store");
  command.add_flag("-q,--quiet", words->quiet, "no progress");
  commands.on(command, [words] { return up(*words); });
}

}  // namespace pinhole::cli
