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

/// The one at /workspace, and those beside it.
Result<void> add_shares(const VmWords& words, config::VmRequest& request) {
  for (const std::string& word : words.shares) {
    PINHOLE_TRY(config::ShareWish wish, config::parse_share_wish(word));
    wish.host = fs::absolute(wish.host).string();
    if (wish.guest != config::kWorkspacePath) {
      request.shares.push_back(std::move(wish));
      continue;
    }
    if (request.workspace || words.no_workspace) {
      return fail(Error{.message = words.no_workspace
                                       ? "--no-workspace, and yet a folder at /workspace"
                                       : "there can be one folder at /workspace",
                        .fix = "say where another is to be, as in -w ./data:/data",
                        .exit_status = kUsageStatus});
    }
    request.workspace = std::move(wish.host);
    if (wish.read_only) request.read_only = true;
  }
  if (words.read_only) request.read_only = true;
  for (const std::string& word : words.caches) {
    PINHOLE_TRY(config::CacheWish wish, config::parse_cache_wish(word));
    request.caches.push_back(std::move(wish));
  }
  return {};
}

Result<config::VmRequest> request_of(const VmWords& words) {
  config::VmRequest request;
  if (!words.image.empty()) request.image = words.image;
  if (!words.disk.empty()) request.disk = fs::absolute(words.disk).string();
  if (words.cpus > 0) request.cpus = words.cpus;
  PINHOLE_TRY_VOID(add_shares(words, request));
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
void choose_workspace(const VmWords& words, bool explicitly, preflight::PrepareOptions& options) {
  if (words.no_workspace) options.request.workspace.reset();
  if (words.no_workspace && !words.read_only) options.request.read_only.reset();
  const bool nobody_says = !words.no_workspace && !options.request.workspace;
  if (nobody_says && words.chosen_by_folder)
    options.request.workspace = fs::current_path().string();
  options.workspace_explicit = explicitly;
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
  repeatable(command.add_option(
      "-w,--workspace", words.shares,
      "FOLDER[:GUEST][:ro]: a folder that the guest sees, at /workspace unless told"));
  command.add_flag("--ro", words.read_only, "the guest cannot write to the workspace");
  command.add_flag("--no-workspace", words.no_workspace, "none, whatever pinhole.yaml says");
  repeatable(command.add_option(
      "--cache", words.caches,
      "NAME[:GUEST]: a volume of this project's that is kept; npm, pip, cargo and go are known"));
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
  PINHOLE_TRY(auto request, request_of(words));
  const bool explicitly = request.workspace.has_value();
  if (explicitly) sources.workspace = *request.workspace;
  if (!explicitly && words.chosen_by_folder) sources.workspace = fs::current_path();
  if (!words.trust.empty()) sources.trusted_hash = words.trust;
  if (!flags.empty())
    sources.session_texts.push_back({.layer = "session", .name = "flags", .text = flags});
  preflight::PrepareOptions options;
  PINHOLE_TRY(options.policies, preflight::gather_policies(paths, sources));
  for (const std::string& warning : options.policies.warnings)
    print_note("note: " + printable(warning));
  options.request = config::merged(std::move(request), options.policies.project_request);
  if (sources.project) options.folder = fs::absolute(*sources.project).parent_path();
  choose_workspace(words, explicitly, options);
  options.capture = !words.no_capture;
  options.accelerator = accelerator(words.accel);
  if (!options.request.disk) {
    PINHOLE_TRY(options.image, ensure_image(image_name(words, options)));
  }
  return options;
}

}  // namespace pinhole::cli
