// SPDX-License-Identifier: Apache-2.0
#include "cli/vm_words.h"

#include "base/printable.h"
#include "base/strings.h"
#include "cli/images.h"
#include "cli/policy_words.h"
#include "cli/terminal.h"
#include "config/guard_level.h"
#include "image/choose.h"

namespace pinhole::cli {
namespace {

namespace fs = std::filesystem;

Result<std::uint64_t> memory_mib(const std::string& word) {
  constexpr std::uint64_t kMiB = 1 << 20;
  const auto bytes = parse_size(word);
  if (bytes && *bytes >= 256 * kMiB) return *bytes / kMiB;
  return fail(Error{
      .message = fmt::format("--memory {} is not a size of at least 256MiB", printable(word, 40)),
      .fix = "for example --memory 2GiB",
      .exit_status = kUsageStatus});
}

Result<config::VmRequest> request_of(const VmWords& words) {
  config::VmRequest request;
  if (!words.image.empty()) request.image = words.image;
  if (!words.disk.empty()) request.disk = fs::absolute(words.disk).string();
  if (words.cpus > 0) request.cpus = words.cpus;
  if (!words.workspace.empty()) request.workspace = fs::absolute(words.workspace).string();
  if (!words.user_data.empty()) request.user_data = fs::absolute(words.user_data).string();
  if (!words.memory.empty()) {
    PINHOLE_TRY(request.memory_mib, memory_mib(words.memory));
  }
  if (!words.boot.empty()) request.boot = config::parse_boot_wish(words.boot);
  if (!words.guard.empty()) request.guard = config::parse_guard_level(words.guard);
  return request;
}

preflight::AcceleratorWish accelerator(const std::string& word) {
  return word == "kvm"   ? preflight::AcceleratorWish::kvm
         : word == "tcg" ? preflight::AcceleratorWish::tcg
                         : preflight::AcceleratorWish::automatic;
}

/// What the guest will write, whoever says so.
void choose_workspace(const VmWords& words, preflight::PrepareOptions& options) {
  if (words.no_workspace) options.request.workspace.reset();
  const bool nobody_says = !words.no_workspace && !options.request.workspace;
  if (nobody_says && words.chosen_by_folder)
    options.request.workspace = fs::current_path().string();
  options.workspace_explicit = !words.workspace.empty();
}

std::string image_name(const VmWords& words, const preflight::PrepareOptions& options) {
  if (options.request.image) return *options.request.image;
  if (!words.chosen_by_folder || !options.request.workspace) return "base";
  const auto choice = image::choose_recipe_for(options.folder / *options.request.workspace);
  if (!choice) return "base";  // why the folder cannot be read is told where it is shared
  if (choice->recipe != "base") print_note(choice->line());
  return choice->recipe;
}

}  // namespace

void add_vm_words(CLI::App& command, VmWords& words) {
  command.add_option("--image", words.image, "the image it starts from");
  command.add_option("--cpus", words.cpus, "virtual processors (default: 1)")
      ->check(CLI::Range(1, 64));
  command.add_option("--memory", words.memory, "memory, as in 512MiB or 2GiB (default: 1GiB)");
  auto* workspace = command.add_option("-w,--workspace", words.workspace,
                                       "the folder that the guest sees at /workspace");
  command.add_flag("--no-workspace", words.no_workspace, "none, whatever pinhole.yaml says")
      ->excludes(workspace);
  command
      .add_option("--guard", words.guard,
                  "files of the workspace that this host would run: off, warn (default) or strict")
      ->check(CLI::IsMember({"off", "warn", "strict"}));
  command.add_flag("--no-capture", words.no_capture,
                   "carry no connections but those of programs that use the proxy variables");
  repeatable(command.add_option("--policy", words.policies,
                                "a policy file for this session; may be given again"));
  command.add_option("--config", words.config, "instead of ./pinhole.yaml");
  command.add_flag("--no-config", words.no_config, "do not read ./pinhole.yaml");
  command.add_option("--trust", words.trust,
                     "sha256:… of a pinhole.yaml that you have read (for CI)");
  command
      .add_option("--boot", words.boot,
                  "auto (default): directly where image and options allow it; efi or direct")
      ->check(CLI::IsMember({"auto", "efi", "direct"}));
  command
      .add_option("--accel", words.accel,
                  "auto tries KVM with a real boot, once per boot of this host")
      ->check(CLI::IsMember({"auto", "kvm", "tcg"}))
      ->capture_default_str();
}

Result<preflight::PrepareOptions> vm_options(const VmWords& words, const std::string& flags,
                                             const config::Paths& paths) {
  preflight::PolicySources sources{.project = project_file(words.config, words.no_config)};
  for (const std::string& file : words.policies) sources.session.emplace_back(file);
  if (!words.workspace.empty()) sources.workspace = words.workspace;
  if (words.workspace.empty() && words.chosen_by_folder) sources.workspace = fs::current_path();
  if (!words.trust.empty()) sources.trusted_hash = words.trust;
  if (!flags.empty())
    sources.session_texts.push_back({.layer = "session", .name = "flags", .text = flags});
  preflight::PrepareOptions options;
  PINHOLE_TRY(options.policies, preflight::gather_policies(paths, sources));
  for (const std::string& warning : options.policies.warnings)
    print_note("note: " + printable(warning));
  PINHOLE_TRY(auto request, request_of(words));
  options.request = config::merged(std::move(request), options.policies.project_request);
  if (sources.project) options.folder = fs::absolute(*sources.project).parent_path();
  choose_workspace(words, options);
  options.capture = !words.no_capture;
  options.accelerator = accelerator(words.accel);
  if (!options.request.disk) {
    PINHOLE_TRY(options.image, ensure_image(image_name(words, options)));
  }
  return options;
}

}  // namespace pinhole::cli
