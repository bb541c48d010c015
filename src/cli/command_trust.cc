// SPDX-License-Identifier: Apache-2.0
// pinhole trust.
#include <unistd.h>

#include "base/printable.h"
#include "base/sha256.h"
#include "base/strings.h"
#include "cli/app.h"
#include "cli/terminal.h"
#include "config/paths.h"
#include "config/trust.h"
#include "config/vm_file.h"
#include "policy/layer.h"
#include "preflight/guest_folders.h"
#include "preflight/policy_files.h"
#include "preflight/wishes.h"

namespace pinhole::cli {
namespace {

namespace fs = std::filesystem;

Result<int> trust(const std::string& folder, bool yes) {
  PINHOLE_TRY(const config::Paths paths, config::user_paths());
  const fs::path file = fs::absolute(fs::path(folder) / "pinhole.yaml").lexically_normal();
  PINHOLE_TRY(const std::string text, preflight::read_project_file(file));
  // Only what can work is worth trusting.
  PINHOLE_TRY(const auto request, config::parse_vm_request(text, file.string()));
  PINHOLE_TRY(const policy::Layer layer,
              preflight::parse_layer({.layer = "project", .name = "pinhole.yaml", .text = text}));
  PINHOLE_TRY(const auto policy, policy::Policy::compile({layer}));
  PINHOLE_TRY(const auto content, policy::read_layer(layer));
  const std::string hash = sha256_hex(text);
  PINHOLE_TRY(auto store, config::TrustStore::load(paths.config / "trusted.yaml"));
  if (store.trusts(file, hash))
    return print_line(fmt::format("{} is trusted already", printable(file.string()))), 0;
  print_line(fmt::format("{} (sha256:{}) wants:", printable(file.string()), hash));
  for (const std::string& wish : preflight::wishes(content, request)) {
    print_line("  " + printable(wish));
  }
  print_line("its text:");
  for (const std::string_view line : split(trim(text), '\n')) print_line("  | " + printable(line));
  for (const std::string& warning : policy.warnings()) print_line("  note: " + printable(warning));
  if (!yes) {
    if (::isatty(STDIN_FILENO) != 1) {
      return fail(Error{.message = "nobody is there to be asked",
                        .fix = fmt::format("pinhole trust --yes {}", folder),
                        .exit_status = kUsageStatus});
    }
    if (!ask_yes("Trust this content?")) return fail("nothing was changed");
  }
  PINHOLE_TRY_VOID(store.add(file, hash));
  print_line("trusted, until its content changes");
  return 0;
}

}  // namespace

void add_trust(Commands& commands) {
  CLI::App& command = commands.add(
      "trust", "Approve a folder's pinhole.yaml by its content, after showing what it wants",
      "  cd project && pinhole trust\n  pinhole trust --yes ./project");
  auto folder = std::make_shared<std::string>(".");
  auto yes = std::make_shared<bool>(false);
  command.add_option("FOLDER", *folder, "the folder with the pinhole.yaml")->capture_default_str();
  command.add_flag("-y,--yes", *yes, "do not ask");
  commands.on(command, [=] { return trust(*folder, *yes); });
}

}  // namespace pinhole::cli
