// SPDX-License-Identifier: Apache-2.0
#include "preflight/share_guard.h"

#include <algorithm>
#include <optional>

#include "base/printable.h"
#include "preflight/guard_rules.h"

namespace pinhole::preflight {
namespace {

namespace fs = std::filesystem;
using config::Share;

constexpr int kUsage = 2;

std::string read_only_fix(const Share& share) {
  const std::string flag =
      share.is_workspace()
          ? "--ro"
          : fmt::format("-w {}:{}:ro", printable(share.host.string()), share.guest);
  return fmt::format("share it read-only ({}), or guard nothing: --guard off", flag);
}

struct Found {
  fs::path at;
  std::string_view why;
};

/// By its names alone.
std::optional<Found> guarded_name(const fs::path& folder) {
  fs::path above, at;
  for (const fs::path& part : folder) {
    at /= part;
    if (part == ".git") return Found{.at = at, .why = kGitHooks};
    for (const GuardRule& rule : kGuardRules) {
      const std::size_t slash = rule.name.find('/');
      const bool first = slash == std::string_view::npos && begins_with(rule, part.native());
      const bool second = slash != std::string_view::npos &&
                          begins_with(rule, above.filename().native()) &&
                          rule.name.substr(slash + 1) == part.native();
      if (first || second) return Found{.at = at, .why = rule.why};
    }
    above = at;
  }
  return std::nullopt;
}

/// A bare repository, a submodule's or a worktree's own folder above it.
std::optional<Found> inside_repository(const fs::path& folder) {
  std::error_code error;
  const auto has = [&](const fs::path& at, const char* name) {
    return fs::exists(at / name, error);
  };
  for (fs::path at = folder.parent_path(); at.has_relative_path(); at = at.parent_path()) {
    if (has(at, "HEAD") && ((has(at, "objects") && has(at, "refs")) || has(at, "commondir")))
      return Found{.at = at, .why = kGitHooks};
  }
  return std::nullopt;
}

/// Links of the path resolved, as far as it exists.
fs::path resolved(const fs::path& path) {
  std::error_code error;
  fs::path real = fs::weakly_canonical(path, error);
  return error ? path : real;
}

Error leads_into(const ScannedShare& from, const GuardLead& lead, const Share& into) {
  const auto name = [](const Share& share) {
    return fmt::format("{} (at {})", printable(share.host.string()), share.guest);
  };
  return {.message = fmt::format("{} of {} leads to {}: what the host executes would be in {}, "
                                 "which the guest writes to",
                                 printable(lead.by, 200), name(*from.share),
                                 printable(lead.to, 200), name(into)),
          .fix = read_only_fix(into),
          .exit_status = kUsage};
}

}  // namespace

Result<void> check_not_guarded(const Share& share) {
  auto found = guarded_name(share.host);
  if (!found) found = inside_repository(share.host);
  if (!found) return {};
  return fail(Error{.message = fmt::format(
                        "cannot let the guest write to {}: the host executes what is in {} ({})",
                        printable(share.host.string()), printable(found->at.string()), found->why),
                    .fix = read_only_fix(share),
                    .exit_status = kUsage});
}

Result<void> check_leads(std::span<const ScannedShare> shares, const HostFolders& host) {
  for (const ScannedShare& from : shares) {
    for (const ScannedShare& into : shares) {
      if (&from == &into || !into.guarded) continue;
      for (const GuardLead& lead : from.leads) {
        if (host.have_files_in_common(resolved(lead.to), into.share->host))
          return fail(leads_into(from, lead, *into.share));
      }
      if (!from.more_leads) continue;
      return fail(Error{
          .message = fmt::format("{} has more than {} links and settings that lead from what the "
                                 "host executes: too many to see whether one leads to {}",
                                 printable(from.share->host.string()), kMostLeads,
                                 printable(into.share->host.string())),
          .fix = read_only_fix(*into.share),
          .exit_status = kUsage});
    }
  }
  return {};
}

}  // namespace pinhole::preflight
